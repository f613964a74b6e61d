"""Rows with their prompts' token ids, and the order in which training visits them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgetool.activity import Activity
from edgetool.calls.types import Example
from edgetool.errors import DataError, PromptTooLong
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings, StepSettings

NAMED = 10  # row ids in a message


@dataclass(frozen=True)
class Row:
    """An example and its prompt [P]."""

    example: Example
    prompt: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens that are held to the limit."""
        return len(self.prompt)

    def identity(self) -> list[Any]:
        """What makes it this row and no other, as JSON values."""
        calls = [{**vars(call), "optional": sorted(call.optional)} for call in self.example.calls]
        return [self.example.id, self.prompt, calls, self.example.rules]


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Rows(Generic[R]):
    """Rows fit for training, and the ids of those left out for their length.

    limit    tokens
    what     was held to it: "prompts", ...
    """

    rows: tuple[R, ...]
    too_long: tuple[str, ...] = ()
    limit: int = 0
    what: str = "prompts"

    def note(self) -> str | None:
        """A line that says what was left out, or None."""
        if not self.too_long:
            return None
        return (
            f"skipped {len(self.too_long)} of {len(self.rows) + len(self.too_long)} rows with "
            f"{self.what} over {self.limit} tokens: {_names(self.too_long)}"
        )


def prepare_rows(
    policy: Policy,
    examples: Sequence[Example],
    settings: GRPOSettings,
    activity: Activity | None = None,
) -> Rows[Row]:
    """Render and tokenize every prompt; set aside those that are too long.

    Raises PromptTooLong when `too_long` is "refuse", or when no row is left. Raises DataError when
    there are no examples.
    """
    limit = prompt_limit(policy, settings)
    taken = (activity or Activity()).over(examples, "reading rows", "row")
    rows = [Row(e, tuple(policy.prompter.ids(e.messages, e.tools))) for e in taken]
    return set_aside(rows, limit, settings, what="prompts", key="max_prompt_length")


def set_aside(
    rows: Sequence[R], limit: int, settings: StepSettings, *, what: str, key: str
) -> Rows[R]:
    """Rows within the limit, and the names of the others; raises as `prepare_rows` does.

    what, key   what is that long, and the setting that says how long it may be
    """
    if not rows:
        raise DataError(["no rows to train on; name a file with at least one row"])
    kept = tuple(row for row in rows if len(row) <= limit)
    over = tuple(row.example.id for row in rows if len(row) > limit)
    if over and (settings.too_long == "refuse" or not kept):
        raise PromptTooLong(
            f"{len(over)} of {len(rows)} rows have {what} over {limit} tokens (the longest has "
            f"{max(map(len, rows))}): {_names(over)}; raise {key}, shorten the rows or set "
            "too_long: skip"
        )
    return Rows(kept, over, limit, what)


def prompt_limit(policy: Policy, settings: GRPOSettings) -> int:
    """Most prompt tokens allowed: the user's limit and what the context leaves a completion."""
    room = policy.context_length - settings.max_completion_length
    if room < 1:
        raise PromptTooLong(
            f"max_completion_length = {settings.max_completion_length} leaves no room for a prompt "
            f"in the model's context of {policy.context_length} tokens; lower it"
        )
    return room if settings.max_prompt_length is None else min(room, settings.max_prompt_length)


def digest(rows: Sequence[Row]) -> str:
    """A fingerprint of the rows, their order and what is expected of them."""
    found = hashlib.blake2b(digest_size=16)
    for row in rows:
        found.update(json.dumps(row.identity()).encode())
    return found.hexdigest()


def visited(step: int, count: int, prompts_per_step: int, seed: int) -> list[int]:
    """Which of `count` rows step 0, 1, ... trains on.

    Every epoch is a new seeded order, and a step may reach over the end of one. It depends on
    nothing but its arguments, so a resumed run needs no sampler state.
    """
    first = step * prompts_per_step
    places = [divmod(first + i, count) for i in range(prompts_per_step)]
    orders = {epoch: _order(epoch, count, seed) for epoch, _ in places}
    return [orders[epoch][place] for epoch, place in places]


def _order(epoch: int, count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _names(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:NAMED])
    return shown + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
