"""Engines that replay recorded completions, and arms written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.judge.match import judge
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Example
from edgetool.errors import EngineError
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.runtime import ARMS, Completion, Sampling

HERMES = syntaxes.get("hermes")
OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ROME = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>'
)
RECORDED = {"one": OSLO, "two": f"{OSLO}\n{ROME}", "none": "Why did the model cross the road?"}


@dataclass
class Replay:
    """A Runtime whose completions were recorded: id -> text, or an error to raise.

    together   as batching engines do: nothing is yielded before every row is done
    """

    recorded: dict[str, str | BaseException]
    name: str = "replay"
    syntax: CallSyntax = HERMES
    finished: bool = True
    together: bool = False
    asked: list[tuple[list[str], str]] = field(default_factory=list)
    arms: tuple[str, ...] = ARMS
    fingerprint: str = "replay"

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = "free"
    ) -> Iterator[tuple[int, Completion]]:
        self.asked.append(([example.id for example in examples], arm))
        written = ((number, self._complete(example)) for number, example in enumerate(examples))
        yield from list(written) if self.together else written

    def _complete(self, example: Example) -> Completion:
        text = self.recorded[example.id]
        if isinstance(text, BaseException):
            raise text
        return Completion(text, (1, 2), self.finished, seconds=0.01)


def row(name: str, *, exact: bool, expects_call: bool = True, **changes: Any) -> RowResult:
    """A row that is right, or wrong by having called a tool that does not exist."""
    example = Example(name, (), (), ())
    text = "no call here" if exact else '<tool_call>{"name": "x", "arguments": {}}</tool_call>'
    verdict = judge(HERMES.parse(text), example.calls)
    usual = {"finished": True, "problem": None, "seconds": 0.01, "tokens": 2, "error": None}
    values = usual | changes
    return RowResult(name, text, verdict=verdict, expects_call=expects_call, **values)


def arm(
    right: Sequence[bool], model: str = "base", runtime: str = "r", kind: str = "free"
) -> ArmResult:
    """An arm over rows r0, r1, ... that are right where `right` says so."""
    rows = tuple(row(f"r{i}", exact=exact) for i, exact in enumerate(right))
    return ArmResult(model, runtime, kind, rows)


@pytest.fixture
def failing() -> EngineError:
    return EngineError("the engine fell over")
