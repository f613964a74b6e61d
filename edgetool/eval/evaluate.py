"""One model, in one runtime, in one arm, over all rows: completions and how they were judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgetool.calls import formats
from edgetool.calls.formats import CallSyntax
from edgetool.calls.formats.base import Parsed
from edgetool.calls.match import Verdict, judge
from edgetool.calls.runtime import Completion, Runtime, Sampling
from edgetool.calls.types import Example
from edgetool.errors import DataError, EdgetoolError, EngineError, UsageError

ARMS = ("free", "constrained")
ERROR = "error"


@dataclass(frozen=True)
class RowResult:
    """What came of one row.

    id            the example's
    text          the completion; empty when the engine failed
    finished      ended by a stop token
    problem       None for a clean completion, else one of the parser's PROBLEMS, "cut" or "error"
    verdict       the judge's; nothing is valid or exact where `problem` is set
    expects_call  the row asks for at least one call
    seconds       wall time of the completion, prompt included
    tokens        sampled tokens, the stop token included
    error         the engine's message when it failed on this row
    """

    id: str
    text: str
    finished: bool
    problem: str | None
    verdict: Verdict
    expects_call: bool
    seconds: float
    tokens: int
    error: str | None = None


@dataclass(frozen=True)
class ArmResult:
    """All rows of one (model, runtime, arm), in the order of the examples."""

    model: str  # "base", "trained" or a name
    runtime: str  # "policy", "gguf:Q8_0", ...
    arm: str  # one of ARMS
    results: tuple[RowResult, ...]

    @property
    def label(self) -> str:
        return f"{self.model} · {self.runtime} · {self.arm}"


def evaluate(
    runtime: Runtime,
    examples: Sequence[Example],
    *,
    model: str,
    arm: str,
    sampling: Sampling,
    on_row: Callable[[RowResult], None] | None = None,
) -> ArmResult:
    """Let `runtime` complete every example and judge what it wrote.

    model    "base", "trained" or any name for the report
    on_row   called after each row, for progress

    An engine that fails on a row costs that row: it counts as invalid and keeps the message.
    Raises UsageError for an unknown arm or one the runtime does not offer, DataError without
    examples, EngineError when not one row came through.
    """
    if arm not in ARMS:
        raise UsageError(f"arm '{arm}' is not known; choose one of: {', '.join(ARMS)}")
    if not examples:
        raise DataError(["no rows to evaluate; name a file with at least one row"])
    outcomes = _outcomes(runtime, examples, sampling, arm == "constrained")
    results: list[RowResult] = []
    for example, outcome in zip(examples, outcomes, strict=True):
        results.append(_row(example, outcome, runtime.syntax))
        if on_row:
            on_row(results[-1])
    if all(row.error is not None for row in results):
        raise EngineError(f"{runtime.name} failed on every row; the first: {results[0].error}")
    return ArmResult(model, runtime.name, arm, tuple(results))


@dataclass(frozen=True)
class _Failed:
    message: str
    seconds: float


def _outcomes(
    runtime: Runtime, examples: Sequence[Example], sampling: Sampling, constrained: bool
) -> Iterator[Completion | _Failed]:
    """One outcome per example. All rows go to the engine together, which may batch them; when it
    fails, the rows it still owed are halved until the one at fault stands alone, since a batch does
    not say which row it was. A sampled row draws by its place in the batch, so it may draw other
    numbers then; a greedy one comes out the same."""
    done, started = 0, time.perf_counter()
    try:
        for completion in runtime.generate(examples, sampling, constrained=constrained):
            done += 1
            yield completion
        return
    except UsageError:  # what was asked for cannot work for any row
        raise
    except EdgetoolError as error:
        owed = examples[done:]
        if len(owed) == 1:
            yield _Failed(str(error), time.perf_counter() - started)
            return
    middle = (len(owed) + 1) // 2
    for half in (owed[:middle], owed[middle:]):
        yield from _outcomes(runtime, half, sampling, constrained)


def _row(example: Example, outcome: Completion | _Failed, syntax: CallSyntax) -> RowResult:
    if isinstance(outcome, _Failed):
        parsed, error = Parsed(problem=ERROR), outcome.message
        outcome = Completion("", (), finished=False, seconds=outcome.seconds)
    else:
        parsed = formats.read(syntax, outcome.text, example.tools, finished=outcome.finished)
        error = None
    return RowResult(
        id=example.id,
        text=outcome.text,
        finished=outcome.finished,
        problem=parsed.problem,
        verdict=judge(parsed, example.calls),
        expects_call=bool(example.calls),
        seconds=outcome.seconds,
        tokens=len(outcome.token_ids),
        error=error,
    )
