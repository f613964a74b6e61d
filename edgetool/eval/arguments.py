"""Arguments one by one: how many are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgetool.calls.judge.mistakes import (
    EXTRA_ARGUMENT,
    EXTRA_CALL,
    MISSING_ARGUMENT,
    MISSING_CALL,
    SHOULD_ABSTAIN,
    WRONG_TOOL,
    Mistake,
)
from edgetool.calls.types import ExpectedCall, ToolCall

_NOT_ASKED_FOR = (WRONG_TOOL, EXTRA_CALL, SHOULD_ABSTAIN)


def argument_counts(
    calls: Sequence[ToolCall], expected: Sequence[ExpectedCall], errors: Iterable[Mistake]
) -> tuple[int, int, int]:
    """(right, made, expected) arguments, for precision right/made and recall right/expected.

    An argument is right when its call has a partner among the expected ones and the judge finds
    nothing wrong in it. Expected are those that are right and those that should have been; one that
    may be left out and was counts on neither side.
    """
    errors = list(errors)
    made = sum(len(call.arguments) for call in calls)
    unasked = {mistake.call for mistake in errors if mistake.kind in _NOT_ASKED_FOR}
    right, missed = 0, 0
    for number, call in enumerate(calls):
        if number in unasked:
            continue
        about = [mistake for mistake in errors if mistake.call == number]
        wrong = {name for m in about if (name := _argument(m.path, call)) is not None}
        absent = [m for m in about if m.kind == MISSING_ARGUMENT and not _argument(m.path, call)]
        right += len(call.arguments) - len(wrong)
        extra = {m.path for m in about if m.kind == EXTRA_ARGUMENT and m.path in wrong}
        missed += len(wrong - extra) + len(absent)
    unmade = [_unmade(m) for m in errors if m.kind in (WRONG_TOOL, MISSING_CALL)]
    if not calls:  # nothing could be read: the judge says so once and for all
        unmade = [want.name for want in expected]
    by_name = {want.name: want for want in expected}
    missed += sum(_asked(by_name[name]) for name in unmade if name in by_name)
    return right, made, right + missed


def _argument(path: str, call: ToolCall) -> str | None:
    """The argument of `call` that a mistake's path is in."""
    return max((name for name in call.arguments if is_in(path, name)), key=len, default=None)


def is_in(path: str, argument: str) -> bool:
    """Whether a mistake's path is an argument or inside of it: "filter.unit" is in "filter"."""
    return path == argument or path.startswith((f"{argument}.", f"{argument}["))


def _unmade(mistake: Mistake) -> str:
    return str(mistake.expected if mistake.kind == WRONG_TOOL else mistake.tool)


def _asked(want: ExpectedCall) -> int:
    return sum(name not in want.optional for name in want.arguments)
