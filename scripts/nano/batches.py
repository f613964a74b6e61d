"""Groups -> tensors: the tools once, then each request and its answer behind them.

The tools are read once per group and their keys and values are shared by its requests, so a
request costs only its own tokens; positions go on after the tools, so each one is a conversation
of its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from edgetool.calls.prompt import render_prompt
from edgetool.calls.types import Tool
from scripts.nano.rows import Group, Request

IGNORED = -100
PADDING = 0
CHUNK = 16  # requests of like length that go through the model together


@dataclass(frozen=True)
class Chunk:
    """Requests of like length and their answers, padded on the right.

    groups     int64 [N], the group each belongs to
    positions  int64 [N, S], where each token stands in its conversation
    mask       bool [N, 1, S, P + S]: a token sees its tools and its own request, up to itself
    ids        int64 [N, S]
    labels     int64 [N, S], the token to predict there, or IGNORED outside answers
    """

    groups: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """The tools of B groups, int64 [B, P] padded on the right, and all their requests."""

    tools: torch.Tensor
    chunks: list[Chunk]


class Packer:
    """Turns groups into batches with the model's own template and tokenizer."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def __call__(self, groups: Sequence[Group]) -> Batch:
        tools = [self._ids(self.tools_text(group.tools)) for group in groups]
        lengths = torch.tensor([len(ids) for ids in tools])
        rows = [
            (i, *self._request(request))
            for i, group in enumerate(groups)
            for request in group.requests
        ]
        rows.sort(key=lambda row: len(row[1]))
        chunks = [
            _chunk(rows[start : start + CHUNK], lengths) for start in range(0, len(rows), CHUNK)
        ]
        return Batch(_pad(tools, PADDING), chunks)

    def tools_length(self, group: Group) -> int:
        return len(self._ids(self.tools_text(group.tools)))

    def _request(self, request: Request) -> tuple[list[int], list[int]]:
        asked = f"<|im_start|>user\n{request.text}<|im_end|>\n<|im_start|>assistant\n"
        prompt = self._ids(asked)
        answer = self._ids(request.answer + "<|im_end|>")
        return prompt + answer, [IGNORED] * (len(prompt) - 1) + answer + [IGNORED]

    def tools_text(self, tools: Sequence[Tool]) -> str:
        messages = [{"role": "user", "content": ""}]
        whole = "".join(render_prompt(self.template, messages, tools, []))
        return whole[: whole.index("<|im_start|>user")]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)


def copy_drill(rng: random.Random, vocab: int, rows: int, length: int) -> Batch:
    """Random tokens, then spans of them again: nothing to learn here but copying."""
    drilled = []
    for row in range(rows):
        source = [rng.randrange(5, vocab) for _ in range(length // 3)]
        ids, labels = list(source), [IGNORED] * len(source)
        while len(ids) < length:
            start = rng.randrange(len(source) - 3)
            span = source[start : start + rng.randint(3, 12)]
            # The first token of a span cannot be foreseen; each later one can.
            ids += span
            labels += [*span[1:], IGNORED]
        drilled.append((row, ids[:length], labels[:length]))
    no_tools = torch.full((rows, 1), PADDING)  # a prefix of one token
    return Batch(no_tools, [_chunk(drilled, torch.ones(rows, dtype=torch.long))])


def _chunk(rows: Sequence[tuple[int, list[int], list[int]]], lengths: torch.Tensor) -> Chunk:
    """Rows of (group, ids, labels) and the length of every group's tools, int64 [B]."""
    groups = torch.tensor([group for group, _, _ in rows])
    ids = _pad([ids for _, ids, _ in rows], PADDING)
    starts, length = lengths[groups], ids.shape[1]
    seen = torch.arange(int(lengths.max())) < starts[:, None]  # [N, P]
    own = torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.cat([seen[:, None].expand(-1, length, -1), own.expand(len(rows), -1, -1)], dim=-1)
    return Chunk(
        groups,
        starts[:, None] + torch.arange(length),
        mask[:, None],
        ids,
        _pad([labels for _, _, labels in rows], IGNORED),
    )


def _pad(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    """Rows of different length -> int64 [N, longest]."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
