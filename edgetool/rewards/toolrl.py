"""The reward of ToolRL, arXiv:2504.13958, section 3.3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgetool.calls.judge.assignment import best_assignment
from edgetool.calls.judge.match import compare
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example, ExpectedCall, ToolCall
from edgetool.rewards.registry import reward

SPAN, LOWEST = 6.0, -3.0


@reward("toolrl")
def toolrl(parsed: Parsed, example: Example) -> float:
    """Format + correctness, in [-3, 4].

    format        1 for a clean completion, else 0
    correctness   6 R / S - 3
        R = names + sum over expected calls of (keys + values) of the call it is paired with
            names    shared over united tool names, counted as often as they are called
            keys     shared over united argument names
            values   how many arguments are right
        S = 1 + sum over expected calls of (1 + how many arguments it has), the most R can be
    No call expected: correctness 3 for a clean completion without one, else -3. The authors' own
    code gives 0 to both, so that nothing would be learned of when to abstain.

    Calls of the same name are paired so that R is greatest. An optional argument that was left out
    is no argument of the expected call.
    """
    if not example.calls:
        abstained = parsed.problem is None and not parsed.calls
        return 1.0 - LOWEST if abstained else float(parsed.problem is None) + LOWEST
    return float(parsed.problem is None) + _correctness(parsed.calls, example)


def _correctness(made: Sequence[ToolCall], example: Example) -> float:
    partners = _partners(made, example)
    got = _shared(Counter(c.name for c in made), Counter(c.name for c in example.calls))
    most = 1.0
    for e, want in enumerate(example.calls):
        call = partners.get(e)
        most += 1 + len(_keys(want, call))
        if call is not None:
            got += _score(call, want, example)
    return SPAN * got / most + LOWEST


def _partners(made: Sequence[ToolCall], example: Example) -> dict[int, ToolCall]:
    """The call each expected one is paired with, by its place; those without one are left out."""
    weights = [
        [1.0 + _score(call, want, example) if call.name == want.name else 0.0 for call in made]
        for want in example.calls
    ]
    if len(made) >= len(example.calls):
        pairs = list(enumerate(best_assignment(weights)))
    else:
        turned = [list(column) for column in zip(*weights, strict=True)]
        pairs = [(e, p) for p, e in enumerate(best_assignment(turned))]
    return {e: made[p] for e, p in pairs if weights[e][p] > 0}


def _score(call: ToolCall, want: ExpectedCall, example: Example) -> float:
    keys = _shared(Counter(list(call.arguments)), Counter(_keys(want, call)))
    return keys + compare(call, want, example).right


def _keys(want: ExpectedCall, call: ToolCall | None) -> list[str]:
    made = call.arguments if call else {}
    return [name for name in want.arguments if name not in want.optional or name in made]


def _shared(a: Counter[str], b: Counter[str]) -> float:
    """Jaccard's index of two multisets; two empty ones are alike."""
    united = (a | b).total()
    return (a & b).total() / united if united else 1.0
