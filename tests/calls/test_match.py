"""The judge, with expectations worked out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetool.calls import strict
from edgetool.calls.assignment import best_assignment
from edgetool.calls.formats.base import Parsed
from edgetool.calls.match import judge
from edgetool.calls.types import ExpectedCall, ToolCall

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
