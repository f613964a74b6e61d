"""Every call syntax: what is rendered parses back, what is broken is data."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetool.calls import syntaxes
from edgetool.calls.json_text import INVALID, MAX_DEPTH, loads
from edgetool.calls.syntaxes import hermes, json_list, qwen3_coder
from edgetool.calls.syntaxes.gemma import FUNCTIONGEMMA, GEMMA4
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import UsageError
from tests.conftest import weather_tool

SYNTAXES = [syntaxes.get(name) for name in syntaxes.names()]
OSLO = ToolCall("get_weather", {"city": "Oslo"})
ROME = ToolCall("get_weather", {"city": "Rome", "days": 3})

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
# "<" inside a value would let generated text spell a marker, which is another test's subject.
plain = values.filter(lambda value: "<" not in str(value))
words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
# The Gemma family writes the keys of objects without quotes.
bare = st.recursive(
    plain.filter(lambda value: not isinstance(value, list | dict)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def calls(arguments):
    names = st.from_regex(r"[a-z_.]{1,12}", fullmatch=True)
    return st.builds(ToolCall, names, st.dictionaries(words, arguments, max_size=4))


def tools_of(made):
    """A tool for each call, whose schema tells text from anything else."""

    def schema(value):
        return {"type": "string"} if isinstance(value, str) else {}

    return [
        Tool(one.name, "", {"properties": {k: schema(v) for k, v in one.arguments.items()}})
        for one in made
    ]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@given(data=st.data())
def test_parse_gives_back_what_render_wrote(syntax, data):
    allowed = bare if syntax in (FUNCTIONGEMMA, GEMMA4) else plain
    unique = {"unique_by": lambda call: call.name} if syntax is qwen3_coder else {}
    made = data.draw(st.lists(calls(allowed), min_size=1, max_size=4, **unique))
    parsed = syntax.parse(syntax.render(made), tools_of(made))
    assert parsed.problem is None
    assert list(parsed.calls) == made


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@given(completion=st.text() | st.text(alphabet='<>tool_call/{}[]",:\\ \n'))
def test_no_text_makes_a_parser_raise(syntax, completion):
    assert syntax.parse(completion).problem in (None, *syntaxes.PROBLEMS)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@pytest.mark.parametrize("completion", ["", " ", "\n\t"])
def test_an_empty_completion_is_a_problem_of_its_own(syntax, completion):
    assert syntax.parse(completion).problem == "empty"


def test_hermes_takes_prose_without_a_marker_as_a_clean_refusal_to_call():
    parsed = hermes.parse("No tool fits.")
    assert parsed.calls == () and parsed.problem is None


BROKEN_HERMES = [
    (
        'Sure!\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
        "extra_text",
        1,
    ),
    (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call> ok',
        "extra_text",
        1,
    ),
    ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}', "unclosed", 1),
    ('<tool_call>\n{"name": "get_weather"\n</tool_call>', "invalid_json", 0),
    ("<tool_call>\n[1]\n</tool_call>", "not_a_call", 0),
    ('<tool_call>\n{"name": 3}\n</tool_call>', "not_a_call", 0),
    ('<tool_call>\n{"name": "a", "arguments": [1]}\n</tool_call>', "not_a_call", 0),
    ('<tool_call>\n{"name": "a", "arguments": {"x": NaN}}\n</tool_call>', "invalid_json", 0),
    ("</tool_call>", "extra_text", 0),
    ("<tool_call>", "invalid_json", 0),
]


@pytest.mark.parametrize(("completion", "problem", "readable"), BROKEN_HERMES)
def test_hermes_names_the_first_problem_and_still_reads_what_it_can(completion, problem, readable):
    parsed = hermes.parse(completion)
    assert parsed.problem == problem
    assert len(parsed.calls) == readable
    assert parsed.strict_calls is None


def test_hermes_reads_arguments_given_as_json_text():
    parsed = hermes.parse('<tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>')
    assert parsed.calls == (ToolCall("a", {"x": 1}),)


def test_json_list_takes_an_empty_list_as_no_call():
    assert json_list.parse("[]").calls == () and json_list.parse("[]").problem is None


@pytest.mark.parametrize(
    "completion", ['```json\n[{"name": "a", "arguments": {}}]\n```', 'ok [{"name": "a"}]']
)
def test_json_list_reads_surrounded_json_but_not_as_clean(completion):
    parsed = json_list.parse(completion)
    assert parsed.calls == (ToolCall("a", {}),) and parsed.problem == "extra_text"


def test_json_nested_beyond_the_limit_is_invalid_not_a_crash():
    assert loads("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not INVALID
    assert loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) is INVALID
    assert loads("[" * 100_000) is INVALID


def test_an_unknown_syntax_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'xml'; known: hermes, .*, json"):
        syntaxes.get("xml")


def _accepts(grammar: str, completion: str) -> bool:
    llguidance = pytest.importorskip("llguidance")
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.grammar_from("grammar", grammar))
    tokens = tokenizer.tokenize_str(completion)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@pytest.mark.parametrize("made", [[OSLO], [ROME], [OSLO, ROME]])
def test_the_grammar_accepts_what_render_writes(syntax, made):
    assert _accepts(syntax.grammar([weather_tool()]), syntax.render(made))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@pytest.mark.parametrize(
    "made",
    [
        ToolCall("get_wether", {"city": "Oslo"}),
        ToolCall("get_weather", {}),
        ToolCall("get_weather", {"city": "Oslo", "days": "many"}),
        ToolCall("get_weather", {"city": "Oslo", "mood": "grim"}),
    ],
    ids=["unknown tool", "missing argument", "wrong type", "unknown argument"],
)
def test_the_grammar_refuses_calls_that_do_not_fit_the_tools(syntax, made):
    assert not _accepts(syntax.grammar([weather_tool()]), syntax.render([made]))


def test_the_grammar_allows_no_call_in_each_syntax():
    assert _accepts(hermes.grammar([weather_tool()]), "No tool fits.")
    assert _accepts(json_list.grammar([weather_tool()]), "[]")


def test_an_argument_may_hold_the_closing_marker_as_text():
    call = ToolCall("say", {"text": "</tool_call> and <tool_call>"})
    assert hermes.parse(hermes.render([call, OSLO])) == syntaxes.Parsed((call, OSLO))


def test_a_cut_completion_is_never_clean_but_its_calls_are_still_read():
    assert syntaxes.read(hermes, "No tool", finished=False).problem == "cut"
    assert syntaxes.read(hermes, hermes.render([OSLO]), finished=False).calls == (OSLO,)


@pytest.mark.parametrize(("written", "sign"), [("1e999", 1), ("-4e444", -1)])
def test_a_number_beyond_float_is_read_as_the_largest_one(written, sign):
    [call] = hermes.parse(
        '<tool_call>\n{"name": "a", "arguments": {"x": ' + written + "}}\n</tool_call>"
    ).strict_calls
    assert call.arguments == {"x": sign * sys.float_info.max}
