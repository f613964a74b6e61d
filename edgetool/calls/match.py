"""The one judge of calls: what pays the reward in training is what scores the evaluation.

Calls are compared without regard to order. Values are equal when they are equal as JSON: 1 equals
1.0, but true does not equal 1, and strings are compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.calls.assignment import best_assignment
from edgetool.calls.formats.base import Parsed
from edgetool.calls.types import ExpectedCall, ToolCall


@dataclass(frozen=True)
class Verdict:
    """How a completion compares with the calls its row expects.

    valid            the completion is clean (see Parsed.problem)
    exact            valid, and the calls are the expected ones, none more and none fewer
    right_tool       valid, and the names called are the expected ones, each as often
    matched_names    how many expected calls have a partner of the same name (lenient reading)
    argument_score   sum over expected calls of the share of its arguments its partner got right
    predicted        number of calls made (lenient reading)
    expected         number of calls the row asks for
    lenient_exact    as `exact`, without asking for a clean completion
    """

    valid: bool
    exact: bool
    right_tool: bool
    matched_names: int
    argument_score: float
    predicted: int
    expected: int
    lenient_exact: bool


def judge(parsed: Parsed, expected: Sequence[ExpectedCall]) -> Verdict:
    """Compare what a completion says with what its row expects. Never raises."""
    valid = parsed.problem is None
    pairs = pair(parsed.calls, expected)
    exact_pairs = sum(argument_share(parsed.calls[p], expected[e]) == 1.0 for p, e in pairs)
    same_count = len(parsed.calls) == len(expected)
    lenient_exact = same_count and exact_pairs == len(expected)
    return Verdict(
        valid=valid,
        exact=valid and lenient_exact,
        right_tool=valid and same_count and len(pairs) == len(expected),
        matched_names=len(pairs),
        argument_score=sum(argument_share(parsed.calls[p], expected[e]) for p, e in pairs),
        predicted=len(parsed.calls),
        expected=len(expected),
        lenient_exact=lenient_exact,
    )


def pair(predicted: Sequence[ToolCall], expected: Sequence[ExpectedCall]) -> list[tuple[int, int]]:
    """Partners (predicted index, expected index) of equal name that agree best in all."""
    if len(predicted) > len(expected):
        weights = [[_weight(call, want) for call in predicted] for want in expected]
        found = [(p, e) for e, p in enumerate(best_assignment(weights))]
    else:
        weights = [[_weight(call, want) for want in expected] for call in predicted]
        found = list(enumerate(best_assignment(weights)))
    return [(p, e) for p, e in found if predicted[p].name == expected[e].name]


def _weight(call: ToolCall, want: ExpectedCall) -> float:
    """Sharing a name is worth more than any agreement of arguments can make up for."""
    return 2.0 + argument_share(call, want) if call.name == want.name else 0.0


def argument_share(call: ToolCall, want: ExpectedCall) -> float:
    """Share in [0, 1] of arguments that are right, over all arguments either side names.

    An argument the row calls optional may be missing; an argument nobody asked for counts as wrong.
    Two calls without arguments agree: 1.0.
    """
    wanted = [
        name for name in want.arguments if name in call.arguments or name not in want.optional
    ]
    extra = [name for name in call.arguments if name not in want.arguments]
    total = len(wanted) + len(extra)
    if total == 0:
        return 1.0
    right = sum(
        name in call.arguments
        and any(same_value(call.arguments[name], accepted) for accepted in want.accepted(name))
        for name in wanted
    )
    return right / total


def same_value(a: Any, b: Any) -> bool:
    """Equality of JSON values: numbers by value, booleans only with booleans."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
