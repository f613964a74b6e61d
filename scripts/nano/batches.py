"""Groups -> tensors: the tools once, then each request and its answer behind them, side by side.

The same layout that GRPO trains on: positions restart after the tools and a block mask keeps the
requests apart, so the model sees each one as a conversation of its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from edgetool.calls.formats import hermes
from edgetool.calls.prompt import render_prompt
from edgetool.calls.types import Tool, ToolCall
from scripts.nano.rows import NO_CALL, Group

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """ids, positions, labels, branch: int64 [B, L]. branch 0 is the tools, k a request, -1 padding.

    labels[b, t] is the token to predict at t, or IGNORED outside answers.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    branch: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """bool [B, 1, L, L]: a token sees the tools and its own request, up to itself."""
        query, key = self.branch[:, :, None], self.branch[:, None, :]  # [B, L, 1], [B, 1, L]
        length = self.branch.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        return (causal & ((key == 0) | (key == query)))[:, None]


class Packer:
    """Turns groups into padded batches with the model's own template and tokenizer."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def __call__(self, groups: Sequence[Group]) -> Batch:
        return _pad([self._row(group) for group in groups])

    def _row(self, group: Group) -> list[tuple[int, int, int, int]]:
        prefix = self._ids(self.tools_text(group.tools))
        row = [(token, i, IGNORED, 0) for i, token in enumerate(prefix)]
        for k, request in enumerate(group.requests, start=1):
            asked = f"<|im_start|>user\n{request.text}<|im_end|>\n<|im_start|>assistant\n"
            prompt = self._ids(asked)
            answer = self._ids(answer_text(request.call) + "<|im_end|>")
            tokens = prompt + answer
            labels = [IGNORED] * (len(prompt) - 1) + answer + [IGNORED]
            spots = range(len(prefix), len(prefix) + len(tokens))
            row += [(t, p, y, k) for t, p, y in zip(tokens, spots, labels, strict=True)]
        return row

    def tools_text(self, tools: Sequence[Tool]) -> str:
        messages = [{"role": "user", "content": ""}]
        whole = "".join(render_prompt(self.template, messages, tools, []))
        return whole[: whole.index("<|im_start|>user")]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)


def answer_text(call: ToolCall | None) -> str:
    return hermes.render([call]) if call else NO_CALL


def copy_drill(rng: random.Random, vocab: int, rows: int, length: int) -> Batch:
    """Random tokens, then spans of them again: nothing to learn here but copying."""
    drilled = []
    for _ in range(rows):
        source = [rng.randrange(5, vocab) for _ in range(length // 3)]
        tokens, labels = list(source), [IGNORED] * len(source)
        while len(tokens) < length:
            start = rng.randrange(len(source) - 3)
            span = source[start : start + rng.randint(3, 12)]
            # The first token of a span cannot be foreseen; each later one can.
            tokens += span
            labels += [*span[1:], IGNORED]
        cells = zip(tokens[:length], range(length), labels[:length], [1] * length, strict=True)
        drilled.append(list(cells))
    return _pad(drilled)


def _pad(rows: list[list[tuple[int, int, int, int]]]) -> Batch:
    longest = max(len(row) for row in rows)
    filler = (0, 0, IGNORED, -1)
    cells = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])  # [B, L, 4]
    return Batch(*(part.contiguous() for part in cells.unbind(-1)))
