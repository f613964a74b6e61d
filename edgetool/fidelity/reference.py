"""The same held-out rows through every stage of the way: adapter, merged model, GGUF files.

The adapter is the reference. A stage is judged by the prompts it makes, the calls it writes and the
probabilities it gives to the tokens that the adapter wrote and to those of the rows' own calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.eval.evaluate import RowResult, evaluate
from edgetool.eval.metrics import wilson
from edgetool.export.safetensors_io import Floats
from edgetool.fidelity.divergence import (
    Doubles,
    kl_per_token,
    log_softmax,
    perplexity,
    summarize_kl,
    token_losses,
)
from edgetool.runtime import FREE, Completion, Runtime, Sampling

# What the reference's log-probabilities may take in memory: 1,800 tokens of a 150,000-word model.
# Rows beyond it are compared by their calls alone.
REFERENCE_BYTES = 2**30
SHOWN = 5  # rows named where prompts differ

Ids = Sequence[int]


class Prompting(Runtime, Protocol):
    """A runtime whose prompts can be looked at."""

    def prompt_ids(self, example: Example) -> list[int]: ...


@dataclass(frozen=True)
class Stage:
    """An engine with the model in it, somewhere on the way.

    logits         prompt [P], completion [C] -> float32 [C, V], what each token was chosen from
    limit          tokens a prompt and its completion may have together
    size           bytes on disk, None where nothing is
    load_seconds   wall time until it was ready
    """

    name: str
    runtime: Prompting
    logits: Callable[[Ids, Ids], Floats]
    limit: int
    size: int | None
    load_seconds: float


@dataclass(frozen=True)
class StageResult:
    """One line of the receipt.

    prompt_parity    share of rows whose prompt has the adapter's token ids, every one
    other_prompts    ids of the first rows where it has not
    call_agreement   share of rows with the adapter's calls, greedy decoding
    lost, gained     rows the adapter had right and this has not, and the other way round
    kl_mean, kl_p99  KL(adapter || this) in nats per token of the adapter's completions
    perplexity       of the rows' own calls
    """

    step: str
    runtime: str
    rows: int
    exact: int
    exact_match: float
    exact_match_ci95: tuple[float, float]
    prompt_parity: float
    other_prompts: tuple[str, ...]
    call_agreement: float
    lost: int
    gained: int
    kl_mean: float | None
    kl_p99: float | None
    kl_tokens: int
    perplexity: float | None
    size: int | None
    load_seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Seen:
    """What a stage made of every row, in order. written: token ids by the row's number."""

    prompts: list[list[int]]
    rows: tuple[RowResult, ...]
    written: dict[int, tuple[int, ...]]

    def calls(self, number: int) -> tuple[str | None, str]:
        """What a row's completion calls, and what is wrong with it."""
        row = self.rows[number]
        return row.problem, row.said


@dataclass
class Reference:
    """What the adapter does on the held-out rows, to measure other stages by.

    gold   [row] token ids of its own calls with a stop token behind, () where it has none
    """

    examples: Sequence[Example]
    sampling: Sampling
    gold: Sequence[Ids]
    result: StageResult
    _seen: _Seen
    _log_probs: dict[int, Floats] = field(repr=False)

    @classmethod
    def of(
        cls, stage: Stage, examples: Sequence[Example], gold: Sequence[Ids], sampling: Sampling
    ) -> Reference:
        """Raises UsageError when two rows share an id."""
        if len({example.id for example in examples}) < len(examples):
            raise UsageError("two held-out rows share an id; give every row its own")
        seen = _observe(stage, examples, sampling)
        log_probs = _keep_log_probs(stage, seen)
        losses = _gold_losses(stage, seen, gold)
        result = _result(stage, seen, seen, [], perplexity(losses))
        return cls(examples, sampling, gold, result, seen, log_probs)

    @property
    def context(self) -> int:
        """Tokens that the longest row takes."""
        room = max(self.sampling.max_completion_length, *map(len, self.gold))
        return max(map(len, self._seen.prompts)) + room

    def measure(self, stage: Stage) -> StageResult:
        """Another stage on the same rows."""
        seen = _observe(stage, self.examples, self.sampling)
        divergences, losses = [], []
        for number, prompt in enumerate(self._seen.prompts):
            own, gold = self._seen.written.get(number, ()), self.gold[number]
            found: dict[tuple[int, ...], Floats] = {}
            for ids in {tuple(own) if number in self._log_probs else (), tuple(gold)} - {()}:
                if len(prompt) + len(ids) <= stage.limit:
                    found[ids] = log_softmax(stage.logits(prompt, ids))
            if number in self._log_probs and tuple(own) in found:
                divergences.append(kl_per_token(self._log_probs[number], found[tuple(own)]))
            if tuple(gold) in found:
                losses.append(token_losses(found[tuple(gold)], gold))
        return _result(stage, seen, self._seen, divergences, perplexity(losses))


def _observe(stage: Stage, examples: Sequence[Example], sampling: Sampling) -> _Seen:
    recorder = _Recorder(stage.runtime)
    arm = evaluate(recorder, examples, model=stage.name, arm=FREE, sampling=sampling)
    prompts = [stage.runtime.prompt_ids(example) for example in examples]
    numbers = {example.id: number for number, example in enumerate(examples)}
    written = {numbers[id_]: ids for id_, ids in recorder.written.items() if ids}
    return _Seen(prompts, arm.results, written)


class _Recorder:
    """A runtime that remembers the token ids it wrote, by the example's id."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.name, self.syntax = runtime, runtime.name, runtime.syntax
        self.arms, self.fingerprint = runtime.arms, runtime.fingerprint
        self.written: dict[str, tuple[int, ...]] = {}

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        for number, completion in self._runtime.generate(examples, sampling, arm):
            self.written[examples[number].id] = completion.token_ids
            yield number, completion


def _keep_log_probs(stage: Stage, seen: _Seen) -> dict[int, Floats]:
    """Of the first rows, as many as REFERENCE_BYTES hold."""
    by_row: dict[int, Floats] = {}
    total = 0
    for number, ids in sorted(seen.written.items()):
        if len(seen.prompts[number]) + len(ids) > stage.limit:
            continue
        log_probs = log_softmax(stage.logits(seen.prompts[number], ids))
        total += log_probs.nbytes
        if total > REFERENCE_BYTES:
            break
        by_row[number] = log_probs
    return by_row


def _gold_losses(stage: Stage, seen: _Seen, gold: Sequence[Ids]) -> list[Doubles]:
    return [
        token_losses(log_softmax(stage.logits(prompt, ids)), ids)
        for prompt, ids in zip(seen.prompts, gold, strict=True)
        if ids and len(prompt) + len(ids) <= stage.limit
    ]


def _result(
    stage: Stage,
    seen: _Seen,
    reference: _Seen,
    divergences: list[Doubles],
    gold_perplexity: float | None,
) -> StageResult:
    count = len(seen.rows)
    exact = [row.verdict.exact for row in seen.rows]
    before = [row.verdict.exact for row in reference.rows]
    pairs = list(zip(before, exact, strict=True))
    divergence = summarize_kl(divergences)
    same_prompts = [a == b for a, b in zip(seen.prompts, reference.prompts, strict=True)]
    others = [row.id for row, same in zip(seen.rows, same_prompts, strict=True) if not same]
    return StageResult(
        step=stage.name,
        runtime=stage.runtime.name,
        rows=count,
        exact=sum(exact),
        exact_match=sum(exact) / count,
        exact_match_ci95=wilson(sum(exact), count),
        prompt_parity=sum(same_prompts) / count,
        other_prompts=tuple(others[:SHOWN]),
        call_agreement=sum(seen.calls(i) == reference.calls(i) for i in range(count)) / count,
        lost=sum(was and not now for was, now in pairs),
        gained=sum(now and not was for was, now in pairs),
        kl_mean=divergence.mean if divergence else None,
        kl_p99=divergence.p99 if divergence else None,
        kl_tokens=divergence.tokens if divergence else 0,
        perplexity=gold_perplexity,
        size=stage.size,
        load_seconds=stage.load_seconds,
    )
