"""What every engine that writes completions looks like to the rest of edgetool.

The torch policy, a GGUF file in llama.cpp and whatever comes later are all a `Runtime`: evaluation
and serving do not know which one they hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Arms: what may be written. Prompts, seeds and sampling are the same in all of them.
FREE = "free"  # anything
CONSTRAINED = "constrained"  # no call, or calls whose arguments fit their schemas (llguidance)
NAMES_ONLY = "names_only"  # as constrained, but an argument's value may be any JSON
GBNF = "gbnf"  # as constrained, by llama.cpp's own grammar
ARMS = (FREE, CONSTRAINED, NAMES_ONLY, GBNF)


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. temperature 0 is greedy; top_k 0 and top_p 1 switch the filter off."""

    max_completion_length: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    text             decoded without the stop token; call markers (`<tool_call>`) are kept
    token_ids        [C] the sampled ids, the stop token included when it came
    finished         ended by a stop token, not cut at max_completion_length
    seconds          wall time of this completion, prompt included; a batch shares its time evenly
    shortened        finished, but a constraint brought it to an end before max_completion_length
    first_seconds    the part of `seconds` until the first token was chosen; None where not measured
    forced           tokens that were the only one a constraint allowed
    cut_mass         mean probability per token (temperature 1) of what a constraint did not allow;
                     None without a constraint
    call_mass        probability (temperature 1, before any constraint) that the completion opens
                     with a call; None where the call syntax does not show that in one token
    unconstrained    why an arm that constrains could not constrain this row, which is free then
    passes           forward passes behind the prompt; fewer than tokens where some were forced
    logprobs         [C] natural log-probabilities under softmax(logits / temperature), temperature
                     1 when greedy, over what a constraint allows; None where nobody asked
    error            the engine's message where it failed; there is no text then
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    seconds: float
    shortened: bool = False
    first_seconds: float | None = None
    forced: int = 0
    cut_mass: float | None = None
    call_mass: float | None = None
    unconstrained: str | None = None
    error: str | None = None
    passes: int | None = None
    logprobs: tuple[float, ...] | None = None


def failed(message: str, seconds: float = 0.0) -> Completion:
    """The completion of a row on which the engine failed."""
    return Completion("", (), finished=False, seconds=seconds, error=message)


class Constraint(Protocol):
    """What one completion may say next; it moves on with each token.

    shortened       the completion is being brought to an end because of max_completion_length
    forced          how many tokens so far were the only one allowed
    cut             sum over tokens so far of the probability that was not allowed; None if nothing
                    is constrained
    unconstrained   why nothing is constrained
    """

    shortened: bool
    forced: int
    cut: float | None
    unconstrained: str | None

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [V] -> logits [V] with -inf where a token is not allowed."""
        ...

    def advance(self, token: int, remaining: int) -> int:
        """Take note of the token that was chosen, with `remaining` more to come at the most.

        Returns the token to write: another one where the completion has to be ended.
        """
        ...

    def forced_next(self, remaining: int) -> list[int]:
        """The tokens that have to come next, at most `remaining`, taken note of here; often none.

        Nothing is asked of it where each token is to be the model's own.
        """
        ...


class Unconstrained:
    """Stands in where a row's tools cannot be held by a grammar: the row is free and says so."""

    def __init__(self, reason: str) -> None:
        self.shortened, self.forced = False, 0
        self.cut: float | None = None
        self.unconstrained: str | None = reason

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits

    def advance(self, token: int, remaining: int) -> int:
        return token

    def forced_next(self, remaining: int) -> list[int]:
        return []


class Runtime(Protocol):
    """An engine with a model in it.

    name          "policy", "gguf:Q8_0", ...
    arms          those of ARMS it offers
    fingerprint   names the model and engine: equal ones write equal completions
    """

    name: str
    syntax: CallSyntax
    arms: tuple[str, ...]

    @property
    def fingerprint(self) -> str: ...

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        """One completion per example with the example's index, as they are done.

        Each draws with `row_seed`, so neither order nor company changes what is drawn. A row that
        fails has a completion with an error, or ends the iteration with an EdgetoolError when the
        engine cannot tell which row it was.
        """
        ...


def in_order(made: Iterable[tuple[int, Completion]]) -> list[Completion]:
    """What `Runtime.generate` gave, in the order of its examples."""
    return [completion for _, completion in sorted(made, key=lambda pair: pair[0])]


def row_seed(seed: int, row: str) -> int:
    """A 63-bit seed for the row with id `row`, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{row}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
