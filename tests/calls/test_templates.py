"""Real chat templates: which syntax each teaches, and that what it writes for calls reads back."""

from __future__ import annotations

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.types import ToolCall
from tests.conftest import music_tool, user, weather_tool

# template -> the syntax it teaches (None: it says nothing of tools), whether it writes several
# calls, and the text that ends an assistant's turn
TEMPLATES = {
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", True, "<|im_end|>"),
    "Qwen-Qwen3-0.6B": ("hermes", True, "<|im_end|>"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("hermes", True, "<|im_end|>"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("hermes", True, "<|im_end|>"),
    "ibm-granite-granite-4.0": ("hermes", True, "<|end_of_text|>"),
    "ibm-granite-granite-4.1": ("hermes", True, "<|end_of_text|>"),
    "Qwen3-Coder": ("qwen3_coder", True, "<|im_end|>"),
    "Qwen3.5-4B": ("qwen3_coder", True, "<|im_end|>"),
    "meta-llama-Llama-3.1-8B-Instruct": ("llama3_json", False, "<|eot_id|>"),
    "meta-llama-Llama-3.2-3B-Instruct": ("llama3_json", False, "<|eot_id|>"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral", True, "</s>"),
    "google-gemma-4-31B-it": ("gemma4", True, "<tool_call|>"),
    "LFM2.5-Instruct": ("lfm2", True, "<|im_end|>"),
    "HuggingFaceTB-SmolLM3-3B": (None, False, ""),
    "microsoft-Phi-3.5-mini-instruct": (None, False, ""),
}
WRITING = [name for name, (syntax, _, _) in TEMPLATES.items() if syntax not in (None, "lfm2")]
CALLS = [
    ToolCall("get_weather", {"city": 'Oslo <3 "quoted" {x: [1]}', "days": 3}),
    ToolCall("play_music", {"artist": "Björk"}),
]
# How a completion begins, in the order of the template's own writing.
OPENING = {
    "hermes": "<tool_call>",
    "qwen3_coder": "<tool_call>",
    "llama3_json": '{"name"',
    "mistral": "[TOOL_CALLS]",
    "gemma4": "<|tool_call>",
}
TOOLS = [weather_tool(), music_tool()]


def template_of(shared, name):
    return (shared / "fixtures" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def written(template, turns):
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "enable_thinking": False}
    pieces = render_prompt(template, turns, TOOLS, (), add_generation_prompt=False, **tokens)
    return "".join(pieces)


def assistant_turn(calls):
    made = [
        {"id": f"call0000{i}", "type": "function", "function": call.as_json()}
        for i, call in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", "tool_calls": made}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_syntax_is_recognised_from_the_template(shared, name):
    taught = syntaxes.taught(template_of(shared, name))
    assert (taught and taught.NAME) == TEMPLATES[name][0]


@pytest.mark.parametrize("name", WRITING)
def test_calls_a_template_writes_read_back(shared, name):
    syntax, several, end = TEMPLATES[name]
    template, made = template_of(shared, name), CALLS if several else CALLS[:1]
    before = written(template, user("hi"))
    after = written(template, [*user("hi"), assistant_turn(made)])
    said = after[len(before) :] if after.startswith(before) else after[after.rindex("hi") :]
    # Behind the role's header, before the end of the turn.
    said = said[said.index(OPENING[syntax]) :]
    said = said[: said.rindex(end)] + (end if syntax == "gemma4" else "")
    assert syntaxes.get(syntax).parse(said, TOOLS) == syntaxes.Parsed(tuple(made))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if TEMPLATES[name][0]])
def test_a_template_shows_the_tools(shared, name):
    text = written(template_of(shared, name), user("hi"))
    assert all(tool.name in text and tool.description in text for tool in TOOLS)


def test_a_syntax_is_said_with_where_it_comes_from(shared):
    qwen = template_of(shared, "Qwen-Qwen3-0.6B")
    assert syntaxes.describe(syntaxes.detect(qwen), qwen) == "hermes, as the chat template teaches"
    assert "teaches hermes" in syntaxes.describe(syntaxes.get("json"), qwen)
    assert "teaches none" in syntaxes.describe(syntaxes.detect("{{ messages }}"), "{{ messages }}")


# Marks of models whose templates are not among the fixtures, as their documentation shows them.
@pytest.mark.parametrize(
    ("template", "syntax"),
    [
        ("{{ '<start_function_call>call:' + name }}", "functiongemma"),
        ("[TOOL_CALLS]{{ name }}[ARGS]{{ arguments }}", "mistral_args"),
        ("[func_name1(params_name1=params_value1, ...)]", "pythonic"),
        ("[BEGIN OF FORMAT INSTRUCTION]", "hammer"),
    ],
)
def test_marks_of_other_templates_are_recognised(template, syntax):
    found = syntaxes.detect(template)
    assert syntax == found.NAME
