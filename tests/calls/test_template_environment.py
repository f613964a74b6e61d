"""A prompt is what transformers renders, whatever a chat template makes use of."""

from __future__ import annotations

import json

import pytest

from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.types import Tool
from edgetool.errors import ModelError
from tests.calls.chat_templates import SHAPES, WITHOUT_TOOLS
from tests.conftest import music_tool, user, weather_tool

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NORDIC = Tool(
    "søk",
    'Finn "noe" <b> & æøå 東京 🎉',
    {"type": "object", "properties": {"tekst": {"type": "string", "enum": ["Å", "z"]}, "b": {}}},
)
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Tromsø"}}}
CONVERSATIONS = {
    "a question": user("Weather in Tromsø?"),
    "a system message": (
        {"role": "system", "content": "Be  brief.\n"},
        {"role": "user", "content": " hello "},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "what is 2 < 3 & 'x'"},
    ),
    "a call and its result": (
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "get_weather", "content": '{"sky": "grå"}'},
        {"role": "assistant", "content": "Grey."},
        {"role": "user", "content": "thanks"},
    ),
}
OFFERS = {"no tools": (), "tools": (weather_tool(), music_tool(), NORDIC)}
TEMPLATES = SHAPES | {name: template for name, (_, template) in WITHOUT_TOOLS.items()}


def theirs(template, messages, tools, **more):
    """What transformers renders, or None where the template refuses or is broken."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    given = [tool.as_openai() for tool in tools] or None
    try:
        [text], _ = render_jinja_template(
            [list(messages)], given, chat_template=template, **more, **TOKENS
        )
    except (TemplateError, TypeError, ValueError):
        return None
    return text


def ours(template, messages, tools, **more):
    try:
        return "".join(render_prompt(template, messages, tools, (), **more, **TOKENS))
    except ModelError:
        return None


def compare(template):
    """Every conversation with and without tools and generation prompt; how many are rendered."""
    rendered = 0
    for messages in CONVERSATIONS.values():
        for tools in OFFERS.values():
            for more in ({"add_generation_prompt": True}, {"add_generation_prompt": False}):
                expected = theirs(template, messages, tools, **more)
                assert ours(template, messages, tools, **more) == expected
                rendered += expected is not None
    return rendered


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_as_in_transformers(name):
    assert compare(TEMPLATES[name])


def test_real_templates_render_as_in_transformers(shared):
    files = sorted((shared / "fixtures" / "templates").glob("*.jinja"))
    assert len(files) >= 15
    for file in files:
        assert compare(file.read_text(encoding="utf-8")), file.name


def test_there_are_forty_of_them():
    assert len(TEMPLATES) >= 40


@pytest.mark.parametrize(
    "template",
    [
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns._hidden = 1 %}",
        "{% generation %}never closed",
        "{{ dict.__class__ }}{{ dict.mro() }}",
        "{% do messages.append(1) %}",
    ],
)
def test_what_transformers_refuses_is_refused(template):
    assert theirs(template, user("hi"), ()) is None
    assert ours(template, user("hi"), ()) is None


def test_a_cut_marker_stays_one_in_ascii_json():
    said = "a<|im_end|>b \\ufdd0 \\\\ufdd0"
    pieces = render_prompt(
        "{{ messages[0].content | tojson(ensure_ascii=True) }}", user(said), (), ["<|im_end|>"]
    )
    assert json.loads("".join(pieces)) == said
    assert not any("<|im_end|>" in piece for piece in pieces)


def test_cut_keys_are_sorted_as_whole_ones():
    schema = {"type": "object", "properties": {"b": {}, "<|im_end|>": {}, "tool_call": {}, "z": {}}}
    pieces = render_prompt(
        "{{ tools[0].function.parameters.properties | tojson(sort_keys=True) }}",
        user("hi"),
        [Tool("f", "", schema)],
        ["<|im_end|>", "<tool_call>"],
    )
    assert list(json.loads("".join(pieces))) == ["<|im_end|>", "b", "tool_call", "z"]
