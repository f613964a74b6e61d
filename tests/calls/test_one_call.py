"""A grammar that allows one call only, in every call syntax."""

from __future__ import annotations

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.syntaxes.rules import one_call
from edgetool.calls.types import Tool, ToolCall
from tests.conftest import music_tool, weather_tool

llguidance = pytest.importorskip("llguidance")

LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}
TAGS = Tool(
    "tag",
    "",
    {
        "type": "object",
        "properties": {"tags": LIST, "more": {"type": "object"}},
        "required": ["tags", "more"],
    },
)
TOOLS = [weather_tool(), music_tool(), TAGS]
OSLO, JAZZ = ToolCall("get_weather", {"city": "Oslo"}), ToolCall("play_music", {"artist": "Chet"})
MANY = ToolCall("tag", {"tags": ["a", "b", "c"], "more": {"x": 1, "y": [2, 3]}})


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes as tokens: markers are text here."""
    return llguidance.LLTokenizer("byte")


def may_be_written(tokenizer, grammar: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(grammar))
    assert not matcher.is_error(), matcher.get_error()
    return matcher.try_consume_tokens(ids := tokenizer.tokenize_str(text)) == len(ids) and (
        matcher.is_accepting()
    )


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("name", syntaxes.names())
def test_one_call_can_be_written_and_no_second_one(tokenizer, name, required):
    syntax = syntaxes.get(name)
    several = syntax.grammar(TOOLS, required=required)
    one = one_call(several)
    for call in (OSLO, JAZZ, MANY):  # a list in the arguments keeps its members
        assert may_be_written(tokenizer, one, syntax.render([call]))
    two = syntax.render([OSLO, MANY])
    assert may_be_written(tokenizer, several, two)
    assert not may_be_written(tokenizer, one, two)
