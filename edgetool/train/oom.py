"""Out of memory in the training pass: take the micro-batch in halves and go on.

The loss is a sum over tokens and its weights belong to the whole step, so the halves of a
micro-batch, of a single group too, add up to the gradient of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from edgetool.errors import EdgetoolError
from edgetool.train.packing import Group, padded_tokens

# What torch's CPU allocator says; it has no exception type of its own.
CPU_ALLOCATOR = "can't allocate memory"

Work = Callable[[list[Group]], None]


class MicroBatchSplitter:
    """How much fits, learned by failing; one for a whole run, so that it fails once.

    on_note   is told, once, which setting avoids the detour
    section   of the configuration that has it
    limits    settings that bound how long a prompt and its completion are
    failed    padded tokens of the smallest micro-batch that did not fit
    """

    def __init__(
        self,
        on_note: Callable[[str], None] | None = None,
        section: str = "grpo",
        limits: str = "max_prompt_length or max_completion_length",
    ) -> None:
        self.on_note, self.failed = on_note or (lambda _: None), 0
        self.section, self.limits = section, limits

    def fit(self, groups: Sequence[Group], work: Work) -> None:
        """Do `work` on the groups, or on halves of them where it runs out of memory.

        `work` must leave nothing behind when it does. Raises EdgetoolError when a single
        completion does not fit.
        """
        halves = halve(groups)
        fits = not self.failed or padded_tokens(groups) < self.failed
        if (fits or not halves) and self._done(groups, work):
            return
        if not halves:
            raise EdgetoolError(
                f"out of memory: one completion and its prompt, {padded_tokens(groups)} tokens, do "
                f"not fit; lower {self.limits}, or set gradient_checkpointing: true"
            )
        for half in halves:
            self.fit(half, work)

    def _done(self, groups: Sequence[Group], work: Work) -> bool:
        try:
            work(list(groups))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        else:
            return True
        # Only now, outside the handler, has the failed pass let go of its tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._note(padded_tokens(groups))
        return False

    def _note(self, tokens: int) -> None:
        if not self.failed:
            self.on_note(
                f"out of memory with {tokens} tokens in a pass; going on in halves, with the same "
                f"gradient; {self.section}.packed_tokens: {tokens // 2} avoids the detour"
            )
        self.failed = min(self.failed or tokens, tokens)


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or CPU_ALLOCATOR in str(error)


def halve(groups: Sequence[Group]) -> tuple[list[Group], list[Group]] | None:
    """Two parts of a micro-batch: half of the groups each, or half of the only one's completions.

    None for a single completion.
    """
    if len(groups) > 1:
        middle = len(groups) // 2
        return list(groups[:middle]), list(groups[middle:])
    [group] = groups
    middle = len(group.completions) // 2
    if middle == 0:
        return None
    return [group.part(slice(middle))], [group.part(slice(middle, None))]
