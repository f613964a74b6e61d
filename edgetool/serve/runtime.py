"""A GGUF file as a Runtime, so that it is evaluated like any other engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from edgetool.calls.runtime import Completion, Sampling
from edgetool.calls.types import Example
from edgetool.serve.constrained import ConstraintMaker, for_llama
from edgetool.serve.session import LlamaSession


class GGUFRuntime:
    """Completions from a GGUF file in llama.cpp, one example after another, in order.

    name   what a report calls it: "gguf:Q8_0"
    """

    def __init__(self, session: LlamaSession, name: str = "gguf") -> None:
        self.session, self.name = session, name
        self.syntax = session.syntax

    @cached_property
    def _constraint(self) -> ConstraintMaker:
        """Made when first asked for: the free arm need not wait for the grammar engine to load."""
        return for_llama(self.session)

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids [P] of the example's prompt."""
        return self.session.prompter.ids(example.messages, example.tools)

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, *, constrained: bool
    ) -> Iterator[Completion]:
        """One completion per example, in order; each draws with a seed of its own.

        Raises PromptTooLong, and EngineError for tools whose schema the grammar engine refuses.
        """
        for number, example in enumerate(examples):
            constraint = self._constraint(example.tools) if constrained else None
            own = replace(sampling, seed=sampling.seed + number)
            yield self.session.generate(self.prompt_ids(example), own, constraint)
