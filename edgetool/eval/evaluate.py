"""One model, in one runtime, in one arm, over all rows: completions and how they were judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgetool.calls import syntaxes
from edgetool.calls.json_text import dumps
from edgetool.calls.judge.match import Verdict, judge_example
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.tools.validation import call_fits
from edgetool.calls.types import Example
from edgetool.errors import DataError, EdgetoolError, EngineError, UsageError
from edgetool.eval.arguments import argument_counts
from edgetool.eval.cache import CompletionCache
from edgetool.runtime import ARMS, Completion, Runtime, Sampling, failed, row_seed

ERROR = "error"


@dataclass(frozen=True)
class RowResult:
    """What came of one row.

    id                   the example's
    text                 the completion; empty when the engine failed
    finished             ended by a stop token
    problem              None for a clean completion, else one of the parser's PROBLEMS, "cut" or
                         "error"
    verdict              the judge's; nothing is valid or exact where `problem` is set
    expects_call         the row asks for at least one call
    seconds              wall time of the completion, prompt included
    tokens               tokens written, the stop token included
    error                the engine's message when it failed on this row
    schema_valid         clean, and every call names a tool on offer and fits its schema
    right_arguments      arguments that are right, in all calls
    made_arguments       arguments given, in all calls
    expected_arguments   those that are right, and those that should have been
    said                 its calls in one spelling, whatever their order; "" for none
    sample               which of several completions of this row it is
    first_seconds, forced, cut_mass, call_mass, unconstrained   see calls.runtime.Completion
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
    schema_valid: bool = False
    right_arguments: int = 0
    made_arguments: int = 0
    expected_arguments: int = 0
    said: str = ""
    sample: int = 0
    first_seconds: float | None = None
    forced: int = 0
    cut_mass: float | None = None
    call_mass: float | None = None
    unconstrained: str | None = None


@dataclass(frozen=True)
class ArmResult:
    """All rows of one (model, runtime, arm) in one category, in the order of the examples.

    more       further completions of the same rows, where several were drawn
    category   the suite's; "" for rows of one's own
    peak_mb    most memory of the engine so far, MiB: resident in its process, or torch's on a GPU;
               None where it cannot be told
    """

    model: str  # "base", "trained" or a name
    runtime: str  # "policy", "gguf:Q8_0", ...
    arm: str  # one of ARMS
    results: tuple[RowResult, ...]
    more: tuple[RowResult, ...] = ()
    category: str = ""
    peak_mb: float | None = None

    @property
    def label(self) -> str:
        where = f" · {self.category}" if self.category else ""
        return f"{self.model} · {self.runtime} · {self.arm}{where}"


def evaluate(
    runtime: Runtime,
    examples: Sequence[Example],
    *,
    model: str,
    arm: str,
    sampling: Sampling,
    samples: int = 1,
    category: str = "",
    cache: CompletionCache | None = None,
    on_row: Callable[[RowResult], None] | None = None,
) -> ArmResult:
    """Let `runtime` complete every example and judge what it wrote.

    model     "base", "trained" or any name for the report
    samples   completions drawn per row; more than one needs a temperature
    cache     completions of earlier evaluations; new ones are put there row by row
    on_row    called after each row, for progress; rows come as they are done

    An engine that fails on a row costs that row: it counts as invalid and keeps the message.
    Raises UsageError for an arm that is unknown or not offered, DataError without examples,
    EngineError when not one row came through.
    """
    if arm not in ARMS:
        raise UsageError(f"arm '{arm}' is not known; choose one of: {', '.join(ARMS)}")
    if samples < 1 or (samples > 1 and sampling.temperature == 0):
        raise UsageError(
            f"{samples} samples of each row at temperature {sampling.temperature:g}: give at least "
            "1; for more than 1, give a --temperature above 0, or all would be equal"
        )
    if not examples:
        raise DataError(["no rows to evaluate; name a file with at least one row"])
    drawn: list[tuple[RowResult, ...]] = []
    for sample in range(samples):
        own = _sampling(sampling, sample)
        rows: dict[int, RowResult] = {}
        for number, completion in _completions(runtime, examples, own, arm, cache):
            rows[number] = _row(examples[number], completion, runtime.syntax, sample)
            if on_row:
                on_row(rows[number])
        drawn.append(tuple(rows[number] for number in range(len(examples))))
    first, *rest = drawn
    if all(row.error is not None for row in first):
        raise EngineError(f"{runtime.name} failed on every row; the first: {first[0].error}")
    more = tuple(row for rows_ in rest for row in rows_)
    peak = getattr(runtime, "peak_mb", None)
    return ArmResult(model, runtime.name, arm, first, more, category, peak)


def _sampling(sampling: Sampling, sample: int) -> Sampling:
    seed = row_seed(sampling.seed, f"sample {sample}") if sample else sampling.seed
    return replace(sampling, seed=seed)


def _completions(
    runtime: Runtime,
    examples: Sequence[Example],
    sampling: Sampling,
    arm: str,
    cache: CompletionCache | None,
) -> Iterator[tuple[int, Completion]]:
    """Every example's completion: those in the cache, then the others as they are written."""
    numbered = list(enumerate(examples))
    if cache is None:
        yield from _written(runtime, numbered, sampling, arm)
        return
    key = partial(cache.key, runtime.fingerprint, sampling=sampling, arm=arm)
    owed = []
    for number, example in numbered:
        found = cache.get(key(example))
        if found is None:
            owed.append((number, example))
        else:
            yield number, found
    for number, completion in _written(runtime, owed, sampling, arm):
        cache.put(key(examples[number]), completion)
        yield number, completion


def _written(
    runtime: Runtime, rows: Sequence[tuple[int, Example]], sampling: Sampling, arm: str
) -> Iterator[tuple[int, Completion]]:
    """One completion per row. All rows go to the engine together, which may batch them; when it
    fails, the rows it still owes are halved until the one at fault stands alone, since a batch does
    not say which row it was."""
    owed, started = dict(rows), time.perf_counter()
    try:
        if rows:
            examples = [example for _, example in rows]
            for place, completion in runtime.generate(examples, sampling, arm):
                del owed[rows[place][0]]
                yield rows[place][0], completion
        return
    except UsageError:  # what was asked for cannot work for any row
        raise
    except EdgetoolError as error:
        if len(owed) == 1:
            [number] = owed
            yield number, failed(str(error), time.perf_counter() - started)
            return
    rest = list(owed.items())
    middle = (len(rest) + 1) // 2
    for half in (rest[:middle], rest[middle:]):
        yield from _written(runtime, half, sampling, arm)


def _row(example: Example, completion: Completion, syntax: CallSyntax, sample: int) -> RowResult:
    if completion.error is not None:
        parsed = Parsed(problem=ERROR)
    else:
        parsed = syntaxes.read(syntax, completion.text, example.tools, finished=completion.finished)
    verdict = judge_example(parsed, example)
    right, made, expected = argument_counts(parsed.calls, example.calls, verdict.errors)
    return RowResult(
        id=example.id,
        text=completion.text,
        finished=completion.finished,
        problem=parsed.problem,
        verdict=verdict,
        expects_call=bool(example.calls),
        seconds=completion.seconds,
        tokens=len(completion.token_ids),
        error=completion.error,
        schema_valid=parsed.problem is None
        and all(call_fits(call, example.tools) for call in parsed.calls),
        right_arguments=right,
        made_arguments=made,
        expected_arguments=expected,
        said=dumps(sorted(dumps(call.as_json()) for call in parsed.calls)) if parsed.calls else "",
        sample=sample,
        first_seconds=completion.first_seconds,
        forced=completion.forced,
        cut_mass=completion.cut_mass,
        call_mass=completion.call_mass,
        unconstrained=completion.unconstrained,
    )
