"""What every engine that writes completions looks like to the rest of the house.

The torch policy, a GGUF file in llama.cpp and whatever comes later are all a `Runtime`: evaluation
and serving do not know which one they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgetool.calls.formats import CallSyntax
from edgetool.calls.types import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    text        decoded without the stop token; call markers (`<tool_call>`) are kept
    token_ids   [C] the sampled ids, the stop token included when it came
    finished    ended by a stop token, not cut at max_completion_length
    seconds     wall time of this completion, prompt included; a batch shares its time evenly
    shortened   finished, but a constraint brought it to an end before max_completion_length
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    seconds: float
    shortened: bool = False


class Constraint(Protocol):
    """What one completion may say next; it moves on with each token.

    shortened   the completion is being brought to an end because of max_completion_length
    """

    shortened: bool

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [V] -> logits [V] with -inf where a token is not allowed."""
        ...

    def advance(self, token: int, left: int) -> int:
        """Take note of the token that was chosen, with `left` more to come at the most.

        Returns the token to write: another one where the completion has to be ended.
        """
        ...


class Runtime(Protocol):
    """An engine with a model in it."""

    name: str  # "policy", "gguf:Q8_0", ...
    syntax: CallSyntax

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids [P] of the example's prompt."""
        ...

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, *, constrained: bool
    ) -> Iterator[Completion]:
        """One completion per example, in order.

        constrained   only calls to the example's tools with schema-valid arguments, or no call,
                      can be written, in the model's own call syntax
        """
        ...
