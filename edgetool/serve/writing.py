"""One completion on its way, and several of them side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgetool.calls.runtime import Completion, Constraint, Sampling, failed
from edgetool.errors import EdgetoolError
from edgetool.serve.sampling import choose

if TYPE_CHECKING:
    from edgetool.serve.session import LlamaSession

OnToken = Callable[[bytes], None]
Key = TypeVar("Key", bound=Hashable)


class Writing:
    """A completion token by token: give it logits, feed its `last` token to the engine.

    budget   tokens it may have
    """

    def __init__(
        self,
        session: LlamaSession,
        budget: int,
        sampling: Sampling,
        constraint: Constraint | None,
        on_token: OnToken | None = None,
    ) -> None:
        self._vocabulary, self._call_token = session.vocabulary, session.call_token
        self._budget, self._sampling = budget, sampling
        self._constraint, self._on_token = constraint, on_token
        self._generator = np.random.default_rng(sampling.seed)
        self._written: list[int] = []
        self._call_mass: float | None = None
        self.finished = False  # a stop token is the last of them
        self.done = False

    @property
    def last(self) -> int:
        return self._written[-1]

    def take(self, logits: NDArray[np.float32]) -> None:
        """Choose the next token by logits [V] behind what was written so far."""
        if not self._written and self._call_token is not None:
            self._call_mass = probability(logits, self._call_token)
        allowed = logits if self._constraint is None else self._constraint.mask(logits)
        token = choose(allowed, self._sampling, self._generator)
        if self._constraint is not None:
            token = self._constraint.advance(token, self._budget - len(self._written) - 1)
        self._written.append(token)
        self.finished = token in self._vocabulary.stop_ids
        self.done = self.finished or len(self._written) >= self._budget
        if self._on_token is not None and not self.finished:
            self._on_token(self._vocabulary.pieces[token])

    def completion(self, seconds: float, first_seconds: float) -> Completion:
        """What was written, in the time it took in all and until its first token."""
        written, held = self._written, self._constraint
        cut = held.cut if held is not None else None
        return Completion(
            text=self._vocabulary.text(written[:-1] if self.finished else written),
            token_ids=tuple(written),
            finished=self.finished,
            seconds=seconds,
            shortened=held is not None and held.shortened,
            first_seconds=first_seconds,
            forced=held.forced if held is not None else 0,
            cut_mass=None if cut is None else cut / len(written),
            call_mass=self._call_mass,
            unconstrained=held.unconstrained if held is not None else None,
        )


def probability(logits: NDArray[np.float32], token: int) -> float:
    """softmax(logits)[token] for logits [V]."""
    return float(1 / np.exp(logits.astype(np.float64) - float(logits[token])).sum())


class Batch(Generic[Key]):
    """Completions written together, one in each of a session's sequences.

    What is written beside a completion changes it by rounding alone: by nothing with weights in
    Q8_0, by some 1e-6 of a logit in Q4_K_M, by some 1e-3 in F16. Time is shared evenly among those
    that took part in a step.
    """

    def __init__(self, session: LlamaSession) -> None:
        self._session = session
        self._free = list(range(session.engine.sequences))
        self._live: dict[int, _Place[Key]] = {}

    @property
    def free(self) -> int:
        """How many more completions can be begun."""
        return len(self._free)

    @property
    def keys(self) -> list[Key]:
        """Those being written."""
        return [place.key for place in self._live.values()]

    def add(
        self,
        key: Key,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        constraint: Constraint | None = None,
        on_token: OnToken | None = None,
    ) -> None:
        """Read a prompt [P] and begin its completion. Needs a free place.

        Raises PromptTooLong, and EngineError when llama.cpp or the grammar engine fails on it.
        """
        budget = self._session.budget(prompt_ids, sampling)
        sequence = self._free.pop(0)
        started = time.perf_counter()
        writing = Writing(self._session, budget, sampling, constraint, on_token)
        try:
            writing.take(self._session.engine.read(prompt_ids, sequence))
        except EdgetoolError:
            self._free.append(sequence)
            raise
        spent = time.perf_counter() - started
        self._live[sequence] = _Place(key, writing, spent, spent)

    def round(self) -> list[tuple[Key, Completion]]:
        """Write one more token in every completion; those that are over leave and are returned.

        Raises EngineError when llama.cpp fails, which costs every completion on the way.
        """
        over = self._leave()
        if not self._live:
            return over
        started = time.perf_counter()
        live = sorted(self._live)
        logits = self._session.engine.step_all({s: self._live[s].writing.last for s in live})
        for sequence, row in zip(live, logits, strict=True):
            try:
                self._live[sequence].writing.take(row)
            except EdgetoolError as error:  # the grammar engine gave up on this one
                self._live[sequence].error = str(error)
        share = (time.perf_counter() - started) / len(live)
        for sequence in live:
            self._live[sequence].seconds += share
        return over + self._leave()

    def _leave(self) -> list[tuple[Key, Completion]]:
        over = [s for s, place in self._live.items() if place.error or place.writing.done]
        self._free += over
        return [(place.key, place.completion()) for place in map(self._live.pop, over)]


class _Place(Generic[Key]):
    def __init__(self, key: Key, writing: Writing, seconds: float, first_seconds: float) -> None:
        self.key, self.writing = key, writing
        self.seconds, self.first_seconds = seconds, first_seconds
        self.error: str | None = None

    def completion(self) -> Completion:
        if self.error is not None:
            return failed(self.error, self.seconds)
        return self.writing.completion(self.seconds, self.first_seconds)
