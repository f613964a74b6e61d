"""Groups -> tensors: the tools once, then each request and its answer behind them.

The tools are read once per group and their keys and values are shared by its requests, so a
request costs only its own tokens; positions go on after the tools, so each one is a conversation
of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Encoding, Tokenizer

from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.types import Tool
from scripts.nano.pointers import Listing, Pointer, follow, read_listing
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
    pointers   kind -> bool [N, S, P + S], what a token should look at
    """

    groups: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    pointers: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """The tools of B groups, int64 [B, P] padded on the right, and all their requests.

    pointers   kind -> bool [B, P, P], what a token of the tools should look at
    """

    tools: torch.Tensor
    chunks: list[Chunk]
    pointers: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """One request and its answer: ids [S], labels [S], pointers into (list, own tokens)."""

    group: int
    ids: list[int]
    labels: list[int]
    into_list: dict[str, list[Pointer]] = field(default_factory=dict)
    into_row: dict[str, list[Pointer]] = field(default_factory=dict)


class Packer:
    """Turns groups into batches with the model's own template and tokenizer."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def __call__(self, groups: Sequence[Group]) -> Batch:
        listings = [self._listing(group.tools) for group in groups]
        tools = _pad([listing.encoding.ids for listing in listings], PADDING)  # [B, P]
        lengths = torch.tensor([len(listing.encoding.ids) for listing in listings])
        rows = [
            self._row(i, request, listing)
            for i, (group, listing) in enumerate(zip(groups, listings, strict=True))
            for request in group.requests
        ]
        rows.sort(key=lambda row: len(row.ids))
        chunks = [
            _chunk(rows[start : start + CHUNK], lengths) for start in range(0, len(rows), CHUNK)
        ]
        described = torch.zeros(*tools.shape, tools.shape[1], dtype=torch.bool)
        for i, listing in enumerate(listings):
            _mark(described[i], listing.describe(), shift=0)
        return Batch(tools, chunks, {"describe": described})

    def tools_length(self, group: Group) -> int:
        return len(self._encode(self.tools_text(group.tools)).ids)

    def _listing(self, tools: Sequence[Tool]) -> Listing:
        text = self.tools_text(tools)
        return read_listing(text, self._encode(text), tools)

    def _row(self, group: int, request: Request, listing: Listing) -> _Row:
        asked = f"<|im_start|>user\n{request.text}<|im_end|>\n<|im_start|>assistant\n"
        prompt, answer = self._encode(asked), self._encode(request.answer + "<|im_end|>")
        found = follow(request, prompt, answer, listing)
        return _Row(
            group,
            prompt.ids + answer.ids,
            [IGNORED] * (len(prompt.ids) - 1) + answer.ids + [IGNORED],
            {"choose": found.choose, "name": found.name},
            {"value": found.value},
        )

    def tools_text(self, tools: Sequence[Tool]) -> str:
        messages = [{"role": "user", "content": ""}]
        whole = "".join(render_prompt(self.template, messages, tools, []))
        return whole[: whole.index("<|im_start|>user")]

    def _encode(self, text: str) -> Encoding:
        return self.tokenizer.encode(text)


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
        drilled.append(_Row(row, ids[:length], labels[:length]))
    no_tools = torch.full((rows, 1), PADDING)  # a prefix of one token
    return Batch(no_tools, [_chunk(drilled, torch.ones(rows, dtype=torch.long))])


def _chunk(rows: Sequence[_Row], lengths: torch.Tensor) -> Chunk:
    """Rows of like length, behind the tools of their groups, whose lengths are int64 [B]."""
    groups = torch.tensor([row.group for row in rows])
    ids = _pad([row.ids for row in rows], PADDING)
    starts, length, shift = lengths[groups], ids.shape[1], int(lengths.max())
    seen = torch.arange(shift) < starts[:, None]  # [N, P]
    own = torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.cat([seen[:, None].expand(-1, length, -1), own.expand(len(rows), -1, -1)], dim=-1)
    pointers = {kind: torch.zeros_like(mask) for kind in (*rows[0].into_list, *rows[0].into_row)}
    for i, row in enumerate(rows):
        for kind, found in row.into_list.items():
            _mark(pointers[kind][i], found, shift=0)
        for kind, found in row.into_row.items():
            _mark(pointers[kind][i], found, shift=shift)
    return Chunk(
        groups,
        starts[:, None] + torch.arange(length),
        mask[:, None],
        ids,
        _pad([row.labels for row in rows], IGNORED),
        pointers,
    )


def _mark(table: torch.Tensor, pointers: Iterable[Pointer], shift: int) -> None:
    """True in `table`, bool [S, K], wherever a pointer leads."""
    found = torch.tensor(list(pointers))
    if len(found):
        table[found[:, 0], found[:, 1] + shift] = True


def _pad(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    """Rows of different length -> int64 [N, longest]."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
