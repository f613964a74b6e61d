"""A GGUF file as a Runtime, so that it is evaluated like any other engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError, UsageError
from edgetool.fingerprint import print_of
from edgetool.grammar.arms import Arms
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.generate import BatchGenerator
from edgetool.llama.session import LlamaSession, chosen_by
from edgetool.runtime import FREE, Completion, Sampling, failed, row_seed


class GGUFRuntime:
    """Completions from a GGUF file in llama.cpp, as many together as the session has sequences.

    name   what a report calls it: "gguf:Q8_0"
    """

    def __init__(self, session: LlamaSession, name: str = "gguf", arms: Arms | None = None) -> None:
        self.session, self.name = session, name
        self.syntax = session.syntax
        self._arms = arms or Arms(lambda: for_llama(session))
        self.arms = self._arms.names

    @property
    def fingerprint(self) -> str:
        return print_of(self.session.path, chosen_by(self.session.prompter))

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids [P] of the example's prompt."""
        return self.session.prompter.ids(example.messages, example.tools)

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        """One completion per example, as they are done. A prompt that is too long, or cannot be
        rendered, costs its row.

        Raises UsageError for an arm that is not offered, EngineError when llama.cpp fails.
        """
        batch: BatchGenerator[int] = BatchGenerator(self.session)
        waiting = deque(enumerate(examples))
        while waiting or batch.keys:
            while waiting and batch.free:
                number, example = waiting.popleft()
                refused = self.begin(batch, number, example, sampling, arm)
                if refused is not None:
                    yield number, refused
            yield from batch.round()

    def begin(
        self,
        batch: BatchGenerator[int],
        number: int,
        example: Example,
        sampling: Sampling,
        arm: str,
    ) -> Completion | None:
        """Begin the completion of a row in `batch`; returns it where it came to nothing."""
        own = replace(sampling, seed=row_seed(sampling.seed, example.id))
        try:
            constraint = self._arms.constraint(example.tools, arm)
            batch.add(number, self.prompt_ids(example), own, constraint)
        except UsageError:  # what was asked for cannot work for any row
            raise
        except EdgetoolError as error:
            return failed(str(error))
        return None
