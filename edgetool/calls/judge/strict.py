"""The strict rule: arguments are right when they are equal to an accepted value as JSON.

1 equals 1.0, but true does not equal 1, and strings are compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.calls.json_text import json_type
from edgetool.calls.judge.mistakes import (
    EXTRA_ARGUMENT,
    MISSING_ARGUMENT,
    WRONG_TYPE,
    WRONG_VALUE,
    Mistake,
)
from edgetool.calls.types import ExpectedCall, Tool, ToolCall


@dataclass(frozen=True)
class Compared:
    """A call beside the expected call of the same name.

    right      arguments that are right
    total      arguments either side names; what may be left out and was does not count
    mistakes   what is wrong with the others; empty when right == total
    """

    right: int
    total: int
    mistakes: tuple[Mistake, ...]

    @property
    def share(self) -> float:
        """In [0, 1]. Two calls without arguments agree: 1.0."""
        return self.right / self.total if self.total else 1.0


def compare(call: ToolCall, want: ExpectedCall, tool: Tool | None = None) -> Compared:
    """`tool` is not looked at: the strict rule asks nothing of a schema."""
    right, total = 0, 0
    mistakes: list[Mistake] = []
    for name in want.arguments:
        if name not in call.arguments:
            if name not in want.optional:
                total += 1
                mistakes.append(_missing(name, want.accepted(name)))
            continue
        total += 1
        wrong = list(_differences(name, want.accepted(name), call.arguments[name]))
        right += not wrong
        mistakes += wrong
    for name, value in call.arguments.items():
        if name not in want.arguments:
            total += 1
            mistakes.append(Mistake(EXTRA_ARGUMENT, path=name, got=value))
    return Compared(right, total, tuple(mistakes))


def _missing(path: str, accepted: Sequence[Any]) -> Mistake:
    if len(accepted) > 1:
        return Mistake(MISSING_ARGUMENT, path=path, expected=list(accepted), choice=True)
    return Mistake(MISSING_ARGUMENT, path=path, expected=accepted[0])


def _differences(path: str, accepted: Sequence[Any], got: Any) -> Iterator[Mistake]:
    """Nothing when `got` is one of the accepted values."""
    if len(accepted) == 1:
        yield from _difference(path, accepted[0], got)
    elif not any(same_value(got, value) for value in accepted):
        same_type = json_type(got) in {json_type(value) for value in accepted}
        kind = WRONG_VALUE if same_type else WRONG_TYPE
        yield Mistake(kind, path=path, expected=list(accepted), got=got, choice=True)


def _difference(path: str, want: Any, got: Any) -> Iterator[Mistake]:
    """Where two values differ, as deep as both have the same shape."""
    if json_type(want) != json_type(got):
        yield Mistake(WRONG_TYPE, path=path, expected=want, got=got)
    elif isinstance(want, dict):
        for key, value in want.items():
            if key in got:
                yield from _difference(f"{path}.{key}", value, got[key])
            else:
                yield Mistake(MISSING_ARGUMENT, path=f"{path}.{key}", expected=value)
        for key in got:
            if key not in want:
                yield Mistake(EXTRA_ARGUMENT, path=f"{path}.{key}", got=got[key])
    elif isinstance(want, list | tuple) and len(want) == len(got):
        for i, (value, other) in enumerate(zip(want, got, strict=True)):
            yield from _difference(f"{path}[{i}]", value, other)
    elif not same_value(want, got):
        yield Mistake(WRONG_VALUE, path=path, expected=want, got=got)


def same_value(a: Any, b: Any) -> bool:
    """Equality of JSON values: numbers by value, booleans only with booleans."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
