"""The one judge of calls: what pays the reward in training is what scores the evaluation.

Calls are compared without regard to order. When an argument is right is up to the row's rules:
STRICT (strict.py), the default, or BFCL (bfcl.py), for BFCL's own rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgetool.calls.judge import bfcl, strict
from edgetool.calls.judge.assignment import best_assignment
from edgetool.calls.judge.mistakes import (
    EXTRA_CALL,
    MISSING_CALL,
    SHOULD_ABSTAIN,
    WRONG_TOOL,
    Mistake,
    explain,
)
from edgetool.calls.judge.strict import Compared
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import BFCL, RULES, STRICT, Example, ExpectedCall, Tool, ToolCall

__all__ = [
    "BFCL",
    "RULES",
    "STRICT",
    "Mistake",
    "Verdict",
    "compare",
    "explain",
    "judge",
    "judge_example",
]

_COMPARE = {STRICT: strict.compare, BFCL: bfcl.compare}


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
    errors           everything that is wrong, worst first; empty when, and only when, exact
    """

    valid: bool
    exact: bool
    right_tool: bool
    matched_names: int
    argument_score: float
    predicted: int
    expected: int
    lenient_exact: bool
    errors: tuple[Mistake, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """What dataclasses.asdict made, also after a way through JSON."""
        errors = tuple(Mistake(**mistake) for mistake in value.get("errors", ()))
        return cls(**{**value, "errors": errors})


def judge_example(parsed: Parsed, example: Example) -> Verdict:
    """Compare what a completion says with what its row expects, by the row's rules."""
    return judge(parsed, example.calls, rules=example.rules, tools=example.tools)


def judge(
    parsed: Parsed,
    expected: Sequence[ExpectedCall],
    *,
    rules: str = STRICT,
    tools: Sequence[Tool] = (),
) -> Verdict:
    """Compare what a completion says with the calls expected. Never raises over a completion.

    rules   one of RULES
    tools   those on offer; BFCL's rules look up the declared types there
    """
    table = _Table(parsed.calls, expected, rules, tools)
    pairs = table.pairs()
    compared = [table.cells[pair] for pair in pairs]
    valid, same_count = parsed.problem is None, len(parsed.calls) == len(expected)
    lenient_exact = same_count and sum(not c.mistakes for c in compared) == len(expected)
    return Verdict(
        valid=valid,
        exact=valid and lenient_exact,
        right_tool=valid and same_count and len(pairs) == len(expected),
        matched_names=len(pairs),
        argument_score=sum(c.share for c in compared),
        predicted=len(parsed.calls),
        expected=len(expected),
        lenient_exact=lenient_exact,
        errors=_errors(parsed, expected, table, pairs),
    )


def compare(call: ToolCall, want: ExpectedCall, example: Example) -> Compared:
    """A call beside an expected one of the same name, by the row's rules."""
    tool = next((tool for tool in example.tools if tool.name == want.name), None)
    return _COMPARE[example.rules](call, want, tool)


class _Table:
    """Every call made beside every call of the same name that is expected."""

    def __init__(
        self,
        made: Sequence[ToolCall],
        expected: Sequence[ExpectedCall],
        rules: str,
        tools: Sequence[Tool],
    ) -> None:
        by_rules, by_name = _COMPARE[rules], {tool.name: tool for tool in tools}
        self.shape = len(made), len(expected)
        self.cells: dict[tuple[int, int], Compared] = {
            (p, e): by_rules(call, want, by_name.get(want.name))
            for p, call in enumerate(made)
            for e, want in enumerate(expected)
            if call.name == want.name
        }

    def pairs(self) -> list[tuple[int, int]]:
        """Partners (index made, index expected) of equal name that agree best in all."""
        made, expected = self.shape
        if made > expected:
            weights = [[self._weight(p, e) for p in range(made)] for e in range(expected)]
            found = [(p, e) for e, p in enumerate(best_assignment(weights))]
        else:
            weights = [[self._weight(p, e) for e in range(expected)] for p in range(made)]
            found = list(enumerate(best_assignment(weights)))
        return [pair for pair in found if pair in self.cells]

    def _weight(self, p: int, e: int) -> float:
        """Sharing a name is worth more than any agreement of arguments can make up for."""
        cell = self.cells.get((p, e))
        return 2.0 + cell.share if cell else 0.0


def _errors(
    parsed: Parsed,
    expected: Sequence[ExpectedCall],
    table: _Table,
    pairs: Sequence[tuple[int, int]],
) -> tuple[Mistake, ...]:
    """Everything that is wrong: with the completion, with the choice of tools, with arguments."""
    problem = [Mistake(parsed.problem)] if parsed.problem is not None else []
    if problem and not parsed.calls:
        return tuple(problem)  # that no call could be read is what the problem says already
    partner = dict(pairs)
    unasked = [p for p in range(len(parsed.calls)) if p not in partner]
    unmade = [e for e in range(len(expected)) if e not in partner.values()]
    wrong = [_wrong_tool(parsed, expected, p, e) for p, e in zip(unasked, unmade, strict=False)]
    surplus = EXTRA_CALL if expected else SHOULD_ABSTAIN
    for p in unasked[len(unmade) :]:
        wrong.append(_about(Mistake(surplus, got=parsed.calls[p].arguments), parsed, p))
    for e in unmade[len(unasked) :]:
        want = expected[e]
        wrong.append(Mistake(MISSING_CALL, tool=want.name, expected=want.arguments))
    for p, e in sorted(pairs):
        wrong += [_about(mistake, parsed, p) for mistake in table.cells[p, e].mistakes]
    return (*problem, *wrong)


def _wrong_tool(parsed: Parsed, expected: Sequence[ExpectedCall], p: int, e: int) -> Mistake:
    name = parsed.calls[p].name
    return _about(Mistake(WRONG_TOOL, expected=expected[e].name, got=name), parsed, p)


def _about(mistake: Mistake, parsed: Parsed, p: int) -> Mistake:
    return replace(mistake, call=p, tool=parsed.calls[p].name)
