"""The judge, with expectations worked out by hand."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetool.calls import syntaxes
from edgetool.calls.judge import strict
from edgetool.calls.judge.assignment import best_assignment
from edgetool.calls.judge.match import RULES, Verdict, judge
from edgetool.calls.judge.mistakes import KINDS, Mistake, explain
from edgetool.calls.syntaxes.base import PROBLEMS, Parsed
from edgetool.calls.types import ExpectedCall, Tool, ToolCall
from tests.conftest import weather_tool

OSLO = ExpectedCall("get_weather", {"city": "Oslo"})
ROME = ExpectedCall("get_weather", {"city": "Rome", "days": 3})


def made(*calls: ToolCall, problem: str | None = None) -> Parsed:
    return Parsed(tuple(calls), problem)


def test_the_same_calls_in_another_order_are_exact():
    verdict = judge(made(ROME, OSLO), [OSLO, ROME])
    assert verdict.exact and verdict.right_tool and verdict.argument_score == 2.0


def test_right_calls_beside_extra_text_are_exact_only_leniently():
    verdict = judge(made(OSLO, problem="extra_text"), [OSLO])
    assert not verdict.exact and not verdict.right_tool and verdict.lenient_exact


def test_an_extra_call_spoils_exactness_and_the_choice_of_tools():
    verdict = judge(made(OSLO, ROME), [OSLO])
    assert not verdict.exact and not verdict.right_tool and verdict.matched_names == 1


def test_no_call_is_exact_when_none_is_expected():
    verdict = judge(made(), [])
    assert verdict.exact and verdict.right_tool and verdict.predicted == 0


def test_a_call_where_none_is_expected_is_wrong():
    verdict = judge(made(OSLO), [])
    assert not verdict.exact and not verdict.right_tool


@pytest.mark.parametrize(
    ("arguments", "share"),
    [
        ({"city": "Rome", "days": 3}, 1.0),
        ({"city": "Rome"}, 1 / 2),  # days missing: 1 of 2
        ({"city": "rome", "days": 3}, 1 / 2),  # strings are compared exactly
        ({"city": "Rome", "days": 3, "unit": "C"}, 2 / 3),  # an extra counts in the total
        ({"city": "Rome", "days": True}, 1 / 2),  # true is no number
        ({"city": "Rome", "days": 3.0}, 1.0),  # 3.0 is 3
        ({}, 0.0),
    ],
)
def test_share_of_right_arguments(arguments, share):
    assert strict.compare(ToolCall("get_weather", arguments), ROME).share == pytest.approx(share)


def test_optional_arguments_may_be_missing_but_not_wrong():
    want = ExpectedCall("f", {"a": 1, "b": 2}, optional=frozenset({"b"}))
    assert strict.compare(ToolCall("f", {"a": 1}), want).share == 1.0
    assert strict.compare(ToolCall("f", {"a": 1, "b": 9}), want).share == 0.5


def test_any_accepted_value_is_right():
    want = ExpectedCall("f", {"city": "New York"}, {"city": ("NY", "NYC")})
    assert strict.compare(ToolCall("f", {"city": "NYC"}), want).share == 1.0
    assert strict.compare(ToolCall("f", {"city": "LA"}), want).share == 0.0


def test_pairing_is_optimal_not_greedy():
    # first fits both wants, second only the first want: greedy by order would strand it
    both = ExpectedCall("f", {"x": 1}, {"x": (2,)})
    two = ExpectedCall("f", {"x": 2})
    verdict = judge(made(ToolCall("f", {"x": 2}), ToolCall("f", {"x": 1})), [both, two])
    assert verdict.exact


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ("1", 1, False),
        (None, None, True),
        (None, False, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_values_are_equal_as_json(a, b, same):
    assert strict.same_value(a, b) is same


@given(
    st.integers(1, 4).flatmap(
        lambda rows: st.integers(rows, 5).flatmap(
            lambda columns: st.lists(
                st.lists(st.integers(0, 9), min_size=columns, max_size=columns),
                min_size=rows,
                max_size=rows,
            )
        )
    )
)
def test_assignment_is_as_good_as_trying_every_one(weights):
    given_columns = best_assignment(weights)
    total = sum(weights[row][column] for row, column in enumerate(given_columns))
    every = itertools.permutations(range(len(weights[0])), len(weights))
    assert len(set(given_columns)) == len(weights)
    assert total == max(sum(weights[r][c] for r, c in enumerate(choice)) for choice in every)


def kinds(verdict):
    return [mistake.kind for mistake in verdict.errors]


@pytest.mark.parametrize(
    ("calls", "expected", "problem", "found"),
    [
        ((OSLO,), [OSLO], None, []),
        ((), [], None, []),
        ((), [OSLO], None, ["missing_call"]),
        ((OSLO,), [], None, ["should_abstain"]),
        ((OSLO, OSLO), [OSLO], None, ["extra_call"]),
        ((ToolCall("play", {}),), [OSLO], None, ["wrong_tool"]),
        ((ToolCall("play", {}), OSLO), [OSLO], None, ["extra_call"]),
        ((ToolCall("play", {}), OSLO), [OSLO, ROME], None, ["wrong_tool"]),
        ((OSLO,), [OSLO, ROME], None, ["missing_call"]),
        ((ToolCall("get_weather", {}),), [OSLO], None, ["missing_argument"]),
        ((OSLO,), [OSLO], "extra_text", ["extra_text"]),
        ((), [OSLO], "invalid_json", ["invalid_json"]),  # the problem says it all
        ((OSLO,), [OSLO, ROME], "invalid_json", ["invalid_json", "missing_call"]),
        ((OSLO,), [], "cut", ["cut", "should_abstain"]),
        (
            (ToolCall("get_weather", {"city": "rome", "days": "3", "unit": "C"}),),
            [ROME],
            None,
            ["wrong_value", "wrong_type", "extra_argument"],
        ),
    ],
)
def test_every_mistake_is_named(calls, expected, problem, found):
    assert kinds(judge(made(*calls, problem=problem), expected)) == found


def test_a_mistake_says_which_call_which_argument_what_was_expected_and_what_was_there():
    want = ExpectedCall("book", {"trip": {"legs": [{"to": "Oslo"}, {"to": "Rome"}]}})
    call = ToolCall("book", {"trip": {"legs": [{"to": "Oslo"}, {"to": "Roma"}]}})
    [mistake] = judge(made(OSLO, call), [OSLO, want]).errors
    assert mistake == Mistake(
        "wrong_value", call=1, tool="book", path="trip.legs[1].to", expected="Rome", got="Roma"
    )
    assert str(mistake) == 'call 2 (book): trip.legs[1].to = "Roma", expected "Rome"'


def test_an_explanation_is_a_line_for_each_mistake():
    play = ToolCall("play", {"artist": "Chet Baker"})
    verdict = judge(made(ToolCall("get_weather", {"city": 1}), play, problem="extra_text"), [OSLO])
    assert explain(verdict.errors).splitlines() == [
        "there is text beside the calls",
        "call 2 (play): one call too many",
        'call 1 (get_weather): city = 1 has the wrong type, expected "Oslo"',
    ]
    assert explain(judge(made(OSLO), [OSLO]).errors) == "nothing is wrong"


@pytest.mark.parametrize(
    ("want", "got", "found"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, [("missing_argument", "v.b")]),
        ({"a": 1}, {"a": 1, "b": 2}, [("extra_argument", "v.b")]),
        ({"a": 1}, {"a": "1"}, [("wrong_type", "v.a")]),
        ([1, 2], [1], [("wrong_value", "v")]),
        ([1, [2, 3]], [1, [2, 4]], [("wrong_value", "v[1][1]")]),
        ([1], {"0": 1}, [("wrong_type", "v")]),
        (None, 0, [("wrong_type", "v")]),
        (1, 1.0, []),
        (1, True, [("wrong_type", "v")]),
    ],
)
def test_differences_are_found_as_deep_as_they_lie(want, got, found):
    verdict = judge(made(ToolCall("f", {"v": got})), [ExpectedCall("f", {"v": want})])
    assert [(m.kind, m.path) for m in verdict.errors] == found


def test_a_verdict_survives_json():
    verdict = judge(made(ToolCall("get_weather", {"city": "Roma"}), OSLO), [ROME])
    assert Verdict.from_json(json.loads(json.dumps(asdict(verdict)))) == verdict


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
CALLS = st.builds(ToolCall, st.sampled_from(["f", "g"]), ARGUMENTS)
EXPECTED = st.builds(
    lambda name, arguments, other, optional: ExpectedCall(
        name,
        arguments,
        dict.fromkeys(list(arguments)[:1], (other,)),
        frozenset(list(arguments)[:optional]),
    ),
    st.sampled_from(["f", "g"]),
    ARGUMENTS,
    VALUES,
    st.integers(0, 2),
)
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object"])
        | st.just(["string", "null"]),
        "items": st.just({"type": "object"}) | st.just({"type": "number"}) | st.just({}),
    },
)
TOOLS = st.builds(
    lambda properties, required: Tool(
        "f", "", {"type": "object", "properties": properties, "required": required}
    ),
    st.dictionaries(st.sampled_from("abc"), SCHEMAS),
    st.lists(st.sampled_from("abc"), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(CALLS, max_size=3),
    st.lists(EXPECTED, max_size=3),
    st.sampled_from([None, *PROBLEMS]),
    st.sampled_from(RULES),
    st.lists(TOOLS, max_size=1),
)
def test_nothing_is_wrong_exactly_when_the_verdict_is_exact(calls, expected, problem, rules, tools):
    verdict = judge(made(*calls, problem=problem), expected, rules=rules, tools=tools)
    assert verdict.exact == (verdict.errors == ())
    assert {mistake.kind for mistake in verdict.errors} <= set(KINDS)
    assert explain(verdict.errors)
    json.dumps(asdict(verdict))


PIECES = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "\n", "[", "]", "{", "}", '"name"', '"arguments"', ": "),
        *(", ", '"get_weather"', '"city"', '"Oslo"', "1e999", "-0", "NaN", "null", "\\", "\ud800"),
        '{"name": "get_weather", "arguments": {"city": "Oslo"}}',
        '<tool_call>\n{"name": "get_weather", "arguments": "{\\"city\\": 1}"}\n</tool_call>',
        "[" * 2000,
        "9" * 5000,
    ]
)
COMPLETIONS = st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    syntax=st.sampled_from(syntaxes.names()),
    text=COMPLETIONS,
    finished=st.booleans(),
    rules=st.sampled_from(RULES),
)
def test_ten_thousand_completions_are_judged_without_an_exception(syntax, text, finished, rules):
    parsed = syntaxes.read(syntaxes.get(syntax), text, finished=finished)
    for expected in ([], [OSLO], [OSLO, ROME]):
        verdict = judge(parsed, expected, rules=rules, tools=[weather_tool()])
        assert verdict.exact == (verdict.errors == ())
        assert explain(verdict.errors)
