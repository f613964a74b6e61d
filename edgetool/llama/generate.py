"""One completion on its way, and several of them side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import EdgetoolError
from edgetool.llama.engine import Logits
from edgetool.llama.load import CHUNK
from edgetool.llama.prompt_lookup import PromptLookup
from edgetool.llama.sampler import choose
from edgetool.runtime import Completion, Constraint, Sampling, failed

if TYPE_CHECKING:
    from edgetool.llama.session import LlamaSession

OnToken = Callable[[bytes], None]
Key = TypeVar("Key", bound=Hashable)


class Generation:
    """A completion token by token: feed its `pending` tokens to the engine, give it the logits.

    budget        tokens it may have
    skip_forced   write tokens that the constraint leaves no choice about without asking the model.
                  The text stays the same; the model might have cut it into other tokens.
    logprobs      note what each token was drawn with
    stop_ids      tokens that end it beside the model's own
    lookup        guesses what comes next, for one pass of the model to confirm: what is written
                  stays the same, but for rounding (see BatchGenerator)
    """

    def __init__(
        self,
        session: LlamaSession,
        budget: int,
        sampling: Sampling,
        constraint: Constraint | None,
        on_token: OnToken | None = None,
        *,
        skip_forced: bool = False,
        lookup: PromptLookup | None = None,
        logprobs: bool = False,
        stop_ids: Collection[int] = (),
    ) -> None:
        self._vocabulary, self._call_token = session.vocabulary, session.call_token
        self._budget, self._sampling = budget, sampling
        self._constraint, self._on_token = constraint, on_token
        self._skip_forced = skip_forced and constraint is not None
        self._lookup = lookup
        self._generator = np.random.default_rng(sampling.seed)
        self._written: list[int] = []
        self._logprobs: list[float] | None = [] if logprobs else None
        self._stop_ids = {*self._vocabulary.stop_ids, *stop_ids}
        self._call_mass: float | None = None
        self.pending: list[int] = []
        self.passes = 0  # times that logits were looked at
        self.finished = False  # a stop token is the last of them
        self.done = False

    def begin(self, logits: NDArray[np.float32]) -> None:
        """The first token, or what has to stand there, by logits [V] behind the prompt."""
        if self._call_token is not None:
            self._call_mass = probability(logits, self._call_token)
        self._force()
        if not self.pending:
            self.take(logits)

    def take(self, logits: NDArray[np.float32]) -> None:
        """Choose the next token by logits [V] behind what was written so far."""
        self.passes += 1
        self._choose(logits)

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may come behind the pending ones."""
        return [] if self._lookup is None else self._lookup.guess(min(most, self._remaining - 1))

    def take_guessed(self, rows: Sequence[Logits], guess: Sequence[int]) -> int:
        """As `take`, with rows [1 + guess, V] behind what was written and each token of a guess.

        Returns how many of the guess came true; nothing but what follows them is pending.
        """
        self.passes += 1
        true = 0
        while not (self.done or self.pending):
            self._choose(rows[true])
            same = _alike(self.pending, guess[true:])
            if same and self._lookup is not None:
                self._lookup.kept += 1  # what came with it was forced
            true += same
            del self.pending[:same]
        return true

    def _choose(self, logits: Logits) -> None:
        allowed = logits if self._constraint is None else self._constraint.mask(logits)
        token = choose(allowed, self._sampling, self._generator)
        if self._constraint is not None:
            token = self._constraint.advance(token, self._remaining - 1)
        if self._logprobs is not None:
            self._logprobs.append(log_probability(allowed, token, self._sampling.temperature))
        self._write(token)
        self._force()

    @property
    def _remaining(self) -> int:
        return self._budget - len(self._written)

    def _force(self) -> None:
        if self._skip_forced and self._constraint is not None and not self.done:
            for token in self._constraint.forced_next(self._remaining):
                self._write(token)

    def _write(self, token: int) -> None:
        self._written.append(token)
        self.pending.append(token)
        if self._lookup is not None:
            self._lookup.note(self._vocabulary.pieces[token])
        self.finished = token in self._stop_ids
        self.done = self.finished or self._remaining <= 0
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
            passes=self.passes,
            logprobs=None if self._logprobs is None else tuple(self._logprobs),
        )


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def probability(logits: NDArray[np.float32], token: int) -> float:
    """softmax(logits)[token] for logits [V]."""
    return float(1 / np.exp(logits.astype(np.float64) - float(logits[token])).sum())


def log_probability(logits: NDArray[np.float32], token: int, temperature: float) -> float:
    """log softmax(logits / temperature)[token] for logits [V]; temperature 1 when greedy."""
    scaled = (logits.astype(np.float64) - float(logits[token])) / (temperature or 1.0)
    highest = float(scaled.max())
    return -highest - float(np.log(np.exp(scaled - highest).sum()))


class BatchGenerator(Generic[Key]):
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
        *,
        skip_forced: bool = False,
        lookup: PromptLookup | None = None,
        logprobs: bool = False,
        stop_ids: Collection[int] = (),
    ) -> None:
        """Read a prompt [P] and begin its completion. Needs a free place.

        skip_forced, ...   see Generation; no guesses where the engine cannot take them back

        Raises PromptTooLong, and EngineError when llama.cpp or the grammar engine fails on it.
        """
        budget = self._session.budget(prompt_ids, sampling)
        sequence = self._free.pop(0)
        started = time.perf_counter()
        generation = Generation(
            self._session,
            budget,
            sampling,
            constraint,
            on_token,
            skip_forced=skip_forced,
            lookup=lookup if self._session.engine.can_retract else None,
            logprobs=logprobs,
            stop_ids=stop_ids,
        )
        try:
            generation.begin(self._session.engine.read(prompt_ids, sequence))
        except EdgetoolError:
            self._free.append(sequence)
            raise
        spent = time.perf_counter() - started
        self._live[sequence] = _Place(key, generation, spent, spent)

    def drop(self, key: Key) -> Completion:
        """Take a completion away before its end; what was written of it."""
        sequence = next(s for s, place in self._live.items() if place.key == key)
        self._free.append(sequence)
        return self._live.pop(sequence).completion()

    def round(self) -> list[tuple[Key, Completion]]:
        """Go on with every completion; those that are over leave and are returned.

        Raises EngineError when llama.cpp fails, which costs every completion on the way.
        """
        over = self._leave()
        if not self._live:
            return over
        started = time.perf_counter()
        live = sorted(self._live)
        pieces, guesses = self._next(live)
        engine = self._session.engine
        for sequence, rows in zip(live, engine.feed_guessed(pieces, guesses), strict=True):
            generation, guess = self._live[sequence].generation, guesses[sequence]
            if generation.pending:
                continue  # more was forced than goes through at once
            try:
                true = generation.take_guessed(rows, guess)
                if true < len(guess):
                    engine.retract(sequence, len(guess) - true)
            except EdgetoolError as error:  # the grammar engine gave up on this one
                self._live[sequence].error = str(error)
        share = (time.perf_counter() - started) / len(live)
        for sequence in live:
            self._live[sequence].seconds += share
        return over + self._leave()

    def _next(self, live: list[int]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """What each sequence is given: some of its pending tokens, and guesses behind them."""
        share = max(1, CHUNK // len(live))
        pieces, guesses = {}, {}
        for sequence in live:
            generation = self._live[sequence].generation
            piece, generation.pending = generation.pending[:share], generation.pending[share:]
            guesses[sequence] = [] if generation.pending else generation.guess(share - len(piece))
            pieces[sequence] = piece
        return pieces, guesses

    def _leave(self) -> list[tuple[Key, Completion]]:
        over = [s for s, place in self._live.items() if place.error or place.generation.done]
        self._free += over
        return [(place.key, place.completion()) for place in map(self._live.pop, over)]


class _Place(Generic[Key]):
    def __init__(
        self, key: Key, generation: Generation, seconds: float, first_seconds: float
    ) -> None:
        self.key, self.generation = key, generation
        self.seconds, self.first_seconds = seconds, first_seconds
        self.error: str | None = None

    def completion(self) -> Completion:
        if self.error is not None:
            return failed(self.error, self.seconds)
        return self.generation.completion(self.seconds, self.first_seconds)
