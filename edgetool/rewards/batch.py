"""Reward functions with the signature of TRL's GRPOTrainer (TRL 1.16), one call for many
completions.

    def brevity(completions, **columns):
        return [1 / (1 + len(completion[0]["content"])) for completion in completions]

    prompts          the messages of each row, before its completion
    completions      [{"role": "assistant", "content": text}] for each
    completion_ids   token ids of each; empty lists where no model wrote them
    trainer_state    global_step, from 0, and max_steps
    columns          everything else a row has: id, tools, calls and what its file holds beside

All are lists with one entry per completion, but for trainer_state. A function without **columns is
given what it names and nothing else. TRL's log_extra and log_metric are not passed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.calls.types import Example
from edgetool.data.rows import row_of

# Of a row: what has another name here, and what TRL does not hand on.
_NOT_COLUMNS = ("messages", "completion")


@dataclass(frozen=True)
class Attempt:
    """A completion that is to be scored: its row, and its text as decoded."""

    example: Example
    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainerState:
    """How far training is, by TRL's names."""

    global_step: int = 0
    max_steps: int = 1


def call(
    function: Callable[..., Any], attempts: Sequence[Attempt], state: TrainerState
) -> list[Any]:
    """What a function of TRL's signature makes of all `attempts`.

    Raises TypeError when it returns no list, ValueError when the list has another length.
    """
    given = {
        **columns([attempt.example for attempt in attempts]),
        "prompts": [list(attempt.example.messages) for attempt in attempts],
        "completions": [[{"role": "assistant", "content": a.text}] for a in attempts],
        "completion_ids": [list(attempt.token_ids) for attempt in attempts],
        "trainer_state": state,
    }
    parameters = inspect.signature(function).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        given = {name: value for name, value in given.items() if name in parameters}
    scores = function(**given)
    if not isinstance(scores, list | tuple):
        raise TypeError(f"it returned {scores!r}; expected a list with a score per completion")
    if len(scores) != len(attempts):
        raise ValueError(f"it returned {len(scores)} scores for {len(attempts)} completions")
    return list(scores)


def columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Rows as columns. What only some rows have is None for the others."""
    rows = [row_of(example) for example in examples]
    names = {name: None for row in rows for name in row if name not in _NOT_COLUMNS}
    return {name: [row.get(name) for row in rows] for name in names}
