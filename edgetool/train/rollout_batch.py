"""A step's rollout: the rows, what was written for them and what it earned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgetool.calls import syntaxes
from edgetool.calls.judge.match import judge_example
from edgetool.calls.syntaxes import CallSyntax
from edgetool.rewards.scoring import Scored
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.rows import Row


@dataclass(frozen=True)
class RolloutBatch:
    """B rows, and per row G completions with their scores.

    tokens     the policy read or wrote for them: prompts once per group; replaced groups too
    replaced   groups of equal rewards that made way for these
    """

    rows: Sequence[Row]
    written: Sequence[Sequence[RolloutCompletion]]
    scored: Sequence[Sequence[Scored]]
    tokens: int
    replaced: int = 0

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        written: Sequence[Sequence[RolloutCompletion]],
        scored: Sequence[Sequence[Scored]],
    ) -> RolloutBatch:
        prompts = sum(len(row.prompt) for row in rows)
        tokens = prompts + sum(len(w.token_ids) for group in written for w in group)
        return cls(rows, written, scored, tokens)

    @classmethod
    def dealt(cls, parts: Sequence[RolloutBatch]) -> RolloutBatch:
        """The whole of what was dealt out to ranks one row at a time, in its order."""
        total = sum(len(part.rows) for part in parts)
        places = [(number % len(parts), number // len(parts)) for number in range(total)]
        return cls(
            [parts[rank].rows[i] for rank, i in places],
            [parts[rank].written[i] for rank, i in places],
            [parts[rank].scored[i] for rank, i in places],
            sum(part.tokens for part in parts),
        )

    @property
    def rewards(self) -> torch.Tensor:
        """float32 [B, G], NaN where a reward function failed."""
        return torch.tensor([[s.reward for s in group] for group in self.scored])

    @property
    def logps(self) -> torch.Tensor:
        """float32 [N, C], what every token was drawn with, in nats; NaN where there is none."""
        flat = [w.logprobs for group in self.written for w in group]
        table = torch.full((len(flat), max(map(len, flat))), math.nan)
        for line, logprobs in zip(table, flat, strict=True):
            line[: len(logprobs)] = torch.tensor(logprobs)
        return table

    def with_groups(self, places: Sequence[int], other: RolloutBatch) -> RolloutBatch:
        """These groups with those of `other` in the given places."""
        rows, written, scored = list(self.rows), list(self.written), list(self.scored)
        for i, place in enumerate(places):
            rows[place], written[place] = other.rows[i], other.written[i]
            scored[place] = other.scored[i]
        tokens, replaced = self.tokens + other.tokens, self.replaced + len(places)
        return RolloutBatch(rows, written, scored, tokens, replaced)

    def as_json(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Plain values; these rows by their place among all `rows`. Verdicts are left out, as a
        text and its row give them again."""
        places = {id(row): place for place, row in enumerate(rows)}
        groups = [
            {"row": places[id(row)], "completions": list(map(_as_json, written, scored))}
            for row, written, scored in zip(self.rows, self.written, self.scored, strict=True)
        ]
        return {"groups": groups, "tokens": self.tokens, "replaced": self.replaced}

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], rows: Sequence[Row], syntax: CallSyntax
    ) -> RolloutBatch:
        """What `as_json` gave."""
        found = [rows[group["row"]] for group in value["groups"]]
        written = [[_written(c) for c in group["completions"]] for group in value["groups"]]
        scored = [
            [_scored(c, row, syntax) for c in group["completions"]]
            for row, group in zip(found, value["groups"], strict=True)
        ]
        return cls(found, written, scored, value["tokens"], value["replaced"])


def _as_json(written: RolloutCompletion, scored: Scored) -> dict[str, Any]:
    return {
        "token_ids": list(written.token_ids),
        "text": written.text,
        "finished": written.finished,
        "logprobs": [_or_null(value) for value in written.logprobs],
        "scores": [_or_null(value) for value in scored.scores],
        "reward": _or_null(scored.reward),
        "fault": scored.fault,
    }


def _written(value: Mapping[str, Any]) -> RolloutCompletion:
    logprobs = tuple(map(_or_nan, value["logprobs"]))
    return RolloutCompletion(tuple(value["token_ids"]), value["text"], value["finished"], logprobs)


def _scored(value: Mapping[str, Any], row: Row, syntax: CallSyntax) -> Scored:
    parsed = syntaxes.read(syntax, value["text"], row.example.tools, finished=value["finished"])
    return Scored(
        value["text"],
        judge_example(parsed, row.example),
        tuple(map(_or_nan, value["scores"])),
        _or_nan(value["reward"]),
        value["fault"],
    )


def _or_null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
