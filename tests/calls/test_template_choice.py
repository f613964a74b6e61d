"""Tools reach the prompt, or edgetool's own template takes the place of the model's."""

from __future__ import annotations

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.kit_template import FAMILIES, Frame, family_of, kit_template
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.prompt.template_choice import OWN, choose, select, why_tools_are_hidden
from edgetool.calls.types import ToolCall
from edgetool.errors import ModelError, UsageError
from tests.calls.chat_templates import SHAPES, WITHOUT_TOOLS
from tests.conftest import TINY_TEMPLATE, music_tool, user, weather_tool

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TOOLS = [weather_tool(), music_tool()]
SYSTEM = {"role": "system", "content": "Be brief."}
PLAIN = {
    "a question": user("hello "),
    "a system message": (SYSTEM, *user("hello")),
    "several turns": (
        *user("one"),
        {"role": "assistant", "content": "two"},
        *user("three"),
    ),
    "several turns after a system message": (
        SYSTEM,
        *user("one"),
        {"role": "assistant", "content": "two"},
        *user("three"),
    ),
}
MUSIC = {"role": "user", "content": "play Björk"}
TWO_CALLS = [
    ToolCall("get_weather", {"city": 'Oslo "<3"', "days": 3}),
    ToolCall("play_music", {"artist": "Björk"}),
]


def written(template, messages, tools=(), **more):
    return "".join(render_prompt(template, messages, tools, (), **more, **TOKENS))


def history(content="", arguments=dict):
    """A conversation of a question, two calls and their results."""
    made = [
        {"type": "function", "function": {"name": c.name, "arguments": arguments(c.arguments)}}
        for c in TWO_CALLS
    ]
    results = [{"role": "tool", "content": text} for text in ("5 degrees", "playing")]
    return [*user("both"), {"role": "assistant", "content": content, "tool_calls": made}, *results]


@pytest.mark.parametrize("name", WITHOUT_TOOLS)
def test_a_template_without_tools_is_replaced_by_its_familys(name):
    family, own = WITHOUT_TOOLS[name]
    chosen = choose(own, where="model")
    assert (chosen.name, chosen.replaced) == (family, True)
    assert "shows the model no tools" in chosen.note and "--template own" in chosen.note
    assert why_tools_are_hidden(chosen.text) is None
    assert syntaxes.detect(chosen.text).NAME == "hermes"


@pytest.mark.parametrize("conversation", PLAIN)
@pytest.mark.parametrize("name", WITHOUT_TOOLS)
def test_a_conversation_without_tools_reads_as_before(name, conversation):
    _, own = WITHOUT_TOOLS[name]
    messages = PLAIN[conversation]
    for more in ({"add_generation_prompt": True}, {"add_generation_prompt": False}):
        try:
            expected = written(own, messages, **more)
        except ModelError:  # Gemma 2 and Mistral refuse a system message; here it opens the turn
            assert SYSTEM in messages
            continue
        assert written(choose(own, where="model").text, messages, **more) == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("system", [(), (SYSTEM,)], ids=["no system", "system"])
def test_every_family_shows_every_tool_whole(family, system):
    text = written(kit_template(family, Frame(bos=False)), [*system, *user("hi")], TOOLS)
    for tool in TOOLS:
        assert tool.name in text and tool.description in text
        assert all(name in text for name in tool.parameters["properties"])
    assert all(message["content"] in text for message in system)


@pytest.mark.parametrize("content", ["", "Let me see.", None], ids=["calls", "words", "null"])
@pytest.mark.parametrize("family", FAMILIES)
def test_calls_in_a_history_are_written_as_the_model_writes_them(family, content):
    text = written(kit_template(family, Frame(bos=False)), history(content), TOOLS)
    words = f"{content}\n" if content else ""
    assert words + syntaxes.get("hermes").render(TWO_CALLS) in text


@pytest.mark.parametrize("family", FAMILIES)
def test_results_come_together_in_one_turn(family):
    text = written(kit_template(family, Frame(bos=False)), history(), TOOLS)
    results = ["<tool_response>\n5 degrees\n</tool_response>", "<tool_response>\nplaying\n"]
    assert "\n".join(results) in text


def test_chatml_with_tools_is_what_qwen_2_5_writes(shared):
    qwen = (shared / "fixtures/templates/Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
    for messages in ([SYSTEM, *history()], [SYSTEM, *history("Let me see."), MUSIC]):
        assert written(kit_template("chatml", Frame(bos=False)), messages, TOOLS) == written(
            qwen, messages, TOOLS
        )


def test_gemma_with_tools_word_by_word():
    text = written(kit_template("gemma", Frame(bos=True)), [SYSTEM, *user("hi")], [])
    assert text == "<s><start_of_turn>user\nBe brief.\n\nhi<end_of_turn>\n<start_of_turn>model\n"
    text = written(kit_template("gemma", Frame(bos=True)), [SYSTEM, *user("hi")], TOOLS)
    assert text.startswith("<s><start_of_turn>user\nBe brief.\n\n# Tools\n")
    assert text.endswith("</tool_call>\n\nhi<end_of_turn>\n<start_of_turn>model\n")


def test_arguments_sent_as_text_are_not_quoted_again():
    import json

    for family in FAMILIES:
        template = kit_template(family, Frame(bos=False))
        as_text = history(arguments=lambda value: json.dumps(value, ensure_ascii=False))
        assert written(template, as_text, TOOLS) == written(template, history(), TOOLS)


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    template = kit_template("chatml", Frame(bos=False))
    assert written(template, [{"role": "user", "content": parts}]) == written(
        template, user("hello")
    )


def test_the_models_own_template_stays_where_it_shows_tools():
    chosen = choose(TINY_TEMPLATE, where="model")
    assert (chosen.text, chosen.name, chosen.note) == (TINY_TEMPLATE, OWN, None)
    assert choose(TINY_TEMPLATE, OWN, where="model") == chosen


def test_real_templates_that_show_tools_stay(shared):
    for file in (shared / "fixtures" / "templates").glob("*.jinja"):
        own = file.read_text(encoding="utf-8")
        hidden = file.stem in ("HuggingFaceTB-SmolLM3-3B", "microsoft-Phi-3.5-mini-instruct")
        assert choose(own, where=file.stem).replaced == hidden, file.stem


@pytest.mark.parametrize("name", WITHOUT_TOOLS)
def test_own_refuses_a_template_without_tools(name):
    with pytest.raises(ModelError, match="leave --template own out"):
        choose(WITHOUT_TOOLS[name][1], OWN, where="model")


@pytest.mark.parametrize(
    "own",
    [
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{{ messages[0].content }}",
        "<|start_of_role|>user<|end_of_role|>{{ messages[0].content }}",
        # shows a name and not what the tool takes
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{{ messages[0].content }}",
        # shows tools only behind a system message
        "{% for m in messages %}{{ m.content }}{% if m.role == 'system' %}{{ tools | tojson }}"
        "{% endif %}{% endfor %}",
        # and only without one
        "{% if messages[0].role == 'user' %}{{ tools | tojson }}{% endif %}{{ messages }}",
    ],
)
def test_unknown_turns_are_refused_with_the_way_out(own):
    with pytest.raises(ModelError, match=r"weird: .*no tools.*--template: chatml, .*a file"):
        choose(own, where="weird")


@pytest.mark.parametrize(
    ("own", "near"),
    [
        # OLMo 2: no eos behind the user's words
        (
            "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}"
            "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
            "zephyr",
        ),
        # a thought is opened in every prompt
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
            "chatml",
        ),
        (
            "{{ bos_token }}{% for m in messages %}{{ '[INST]' if m.role == 'user' }}"
            "{{ m.content }}{{ '[/INST]' if m.role == 'user' else '##' }}{% endfor %}",
            "mistral",
        ),
    ],
    ids=["olmo", "thought", "no eos"],
)
def test_turns_that_only_look_like_a_familys_are_refused_until_it_is_named(own, near):
    with pytest.raises(ModelError, match=rf"a little otherwise.*--template {near}"):
        choose(own, where="model")
    chosen = choose(own, near, where="model")
    assert chosen.name == near and why_tools_are_hidden(chosen.text) is None
    assert ("bos_token" in own) == written(chosen.text, user("hi")).startswith("<s>")


@pytest.mark.parametrize("own", ["{% if %}", "{{ raise_exception('no') }}", "{{ nothing.at.all }}"])
def test_a_broken_template_is_refused_as_broken(own):
    with pytest.raises(ModelError, match="chat template is broken"):
        choose(own, where="model")


def test_a_template_that_refuses_tools_is_replaced():
    refusing = "{% if tools %}{{ raise_exception('no tools here') }}{% endif %}"
    chosen = choose(refusing + WITHOUT_TOOLS["chatml"][1], where="model")
    assert chosen.name == "chatml" and "no tools here" in chosen.note


def test_without_tools_the_models_own_template_serves():
    own = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for wanted in (None, OWN):
        chosen = choose(own, wanted, where="model", tools=False)
        assert (chosen.text, chosen.name, chosen.note) == (own, OWN, None)
    with pytest.raises(ModelError, match="broken"):
        choose("{% if %}", where="model", tools=False)


def test_a_strangers_words_do_not_steer_the_terminal():
    own = (
        "{% if tools %}{{ raise_exception('\x1b[31mred') }}{% endif %}" + WITHOUT_TOOLS["chatml"][1]
    )
    note = choose(own, where="model").note
    assert "[31mred" in note and note.isprintable()


def test_a_template_that_asks_what_is_required_is_shown_a_whole_tool():
    own = (
        "{% for t in tools or [] %}{{ t.function.name }}{{ t.function.parameters.required | tojson "
    )
    own += "}}{{ t.function.parameters.properties['edgetool_argument'].description }}{% endfor %}"
    assert choose(own + "{{ messages[0].content }}", where="model").name == OWN


@pytest.mark.parametrize("own", [None, "", " \n"])
def test_no_template_is_refused_unless_one_is_named(own):
    with pytest.raises(ModelError, match="no chat template"):
        choose(own, where="model")
    chosen = choose(own, "gemma", where="model")
    assert chosen.name == "gemma" and chosen.text.count("bos_token")


def test_the_name_is_advised_by_the_models_tokens():
    with pytest.raises(ModelError, match=r"--template gemma$"):
        choose(None, where="model", markers={"<end_of_turn>": 106})


def test_a_named_template_keeps_the_models_default_system_message():
    own = WITHOUT_TOOLS["smollm2"][1]
    assert "named SmolLM" in written(choose(own, "chatml", where="m").text, user("hi"), TOOLS)
    assert "named SmolLM" not in written(choose(own, "gemma", where="m").text, user("hi"), TOOLS)


def test_a_template_of_todays_date_keeps_no_system_message():
    own = (
        "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %B %Y') + '<|im_end|>\n' }}"
        + WITHOUT_TOOLS["chatml"][1]
    )
    assert "Today" not in written(choose(own, where="model").text, user("hi"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"--template chatlm: no such file.*own, chatml"):
        choose(TINY_TEMPLATE, "chatlm", where="model")


def test_a_file_may_be_named(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(TINY_TEMPLATE, encoding="utf-8")
    chosen = choose(None, str(file), where="model")
    assert (chosen.text, chosen.name) == (TINY_TEMPLATE, str(file))
    file.write_bytes(b"\xff\xfe{{ tools }}")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        choose(None, str(file), where="model")
    file.write_text(WITHOUT_TOOLS["chatml"][1], encoding="utf-8")
    with pytest.raises(ModelError, match="shows the model no tools"):
        choose(None, str(file), where="model")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, None),
        ("one", "one"),
        ({}, None),
        ({"default": "d"}, "d"),
        ({"default": "d", "tool_use": "t", "rag": "r"}, "t"),
        ({"tool_use": "t"}, "t"),
    ],
)
def test_of_named_templates_the_one_for_tools_is_taken(named, expected):
    assert select(named) == expected


def test_named_templates_without_a_default_are_refused():
    with pytest.raises(ModelError, match="rag, short"):
        select({"rag": "r", "short": "s"})


@pytest.mark.parametrize("name", SHAPES)
def test_templates_of_no_turns_belong_to_no_family(name):
    assert family_of(SHAPES[name]) is None


SMOLLM3 = (
    "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
    "{{- '<|im_start|>system\nMode: ' + ('/think' if enable_thinking else '/no_think') }}"
    "{%- if messages[0].role == 'system' %}{{- '\n' + messages[0].content }}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- for m in messages if m.role != 'system' %}"
    "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if not enable_thinking %}{{- '<think>\n\n</think>\n' }}{%- endif %}{%- endif %}"
)


@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_is_turned_off_as_the_models_own_template_does(thinking):
    chosen, told = choose(SMOLLM3, where="model"), {"enable_thinking": thinking}
    assert chosen.name == "chatml"
    expected = written(SMOLLM3, user("hi"), **told)
    assert written(chosen.text, user("hi"), **told) == expected
    assert expected.endswith("</think>\n") != thinking
    assert written(chosen.text, user("hi")) == written(SMOLLM3, user("hi"))
    assert written(chosen.text, user("hi"), TOOLS, **told).endswith("</think>\n") != thinking


def test_smollm3_without_tools_keeps_its_switch(shared):
    own = (shared / "fixtures/templates/HuggingFaceTB-SmolLM3-3B.jinja").read_text()
    chosen = choose(own, where="model")
    for told in ({"enable_thinking": True}, {"enable_thinking": False}, {}):
        assert written(chosen.text, user("hi"), **told) == written(own, user("hi"), **told)
