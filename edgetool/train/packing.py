"""The training pass's layout: one row per group, the prompt once and then its completions.

    row        P P P P | a a a | b b | c c c c
    position   0 1 2 3 | 4 5 6 | 4 5 | 4 5 6 7
    sees       earlier prompt tokens; a completion also sees its own earlier tokens, no other's

So a prompt of P tokens with G completions of C costs P + G C tokens and not G (P + C), and every
completion gets exactly the hidden states it would have alone. A completion's last token predicts
nothing that is trained, so it is no input at all. A sliding window is measured in positions, which
start anew behind the prompt with every completion, and not in columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Group:
    """A prompt [P] and the completions to train on, each [C] with C >= 1.

    owners   for each completion its number among the step's N completions
    """

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]
    owners: Sequence[int]

    def __len__(self) -> int:
        """Tokens in the packed row."""
        return len(self.prompt) + sum(len(ids) - 1 for ids in self.completions)

    def part(self, which: slice) -> Group:
        """The same prompt with some of its completions."""
        return Group(self.prompt, self.completions[which], self.owners[which])


def padded_tokens(groups: Sequence[Group]) -> int:
    """R * L of the batch that `pack` makes of them."""
    return len(groups) * max(len(group) for group in groups)


@dataclass(frozen=True)
class PackedBatch:
    """R rows padded to the longest, L tokens; T completion tokens in all of them.

    input_ids     int64 [R, L], padded with 0
    position_ids  int64 [R, L]
    mask          bool [R, 1, L, L], True where a query (rows) sees a key (columns), or
                  FlexAttention's form of it; where layers differ in it, one for each layer type,
                  as transformers takes them
    sources       int64 [T], index into R * L of the position whose logits predict each token
    targets       int64 [T], the token predicted
    owners        int64 [T], the completion each token belongs to
    offsets       int64 [T], its place in that completion, from 0
    prefix        so many tokens at the start of every row are its prompt's
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor | BlockMask | dict[str, Tensor | BlockMask]
    sources: Tensor
    targets: Tensor
    owners: Tensor
    offsets: Tensor
    prefix: int = 0

    def to(self, device: torch.device) -> PackedBatch:
        return PackedBatch(**{name: _moved(value, device) for name, value in vars(self).items()})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: part.to(device) for name, part in value.items()}
    return value if isinstance(value, int) else value.to(device)


def micro_batches(groups: Sequence[Group], token_budget: int) -> Iterator[list[Group]]:
    """Groups of like length together, at most `token_budget` tokens a batch, padding included.

    A group that is longer than the budget makes a batch of its own.
    """
    batch: list[Group] = []
    for group in sorted(groups, key=len, reverse=True):
        widest = len(batch[0]) if batch else len(group)
        if batch and widest * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


FULL: Mapping[str, int | None] = {"full_attention": None}


def pack(
    groups: Sequence[Group],
    windows: Mapping[str, int | None] = FULL,
    flex_on: torch.device | None = None,
) -> PackedBatch:
    """Lay out groups as rows of one batch; see the module's drawing.

    windows   by layer type, how many tokens a query sees at most; see architectures.layer_windows
    flex_on   make FlexAttention's masks, for this device; None: boolean ones
    """
    width = max(len(group) for group in groups)
    size = (len(groups), width)
    input_ids, position_ids = (
        torch.zeros(size, dtype=torch.long),
        torch.zeros(size, dtype=torch.long),
    )
    blocks = torch.full(size, PADDING)
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    offsets: list[int] = []
    for row, group in enumerate(groups):
        line = _lay_out(group)
        filled = len(line.ids)
        input_ids[row, :filled] = torch.tensor(line.ids)
        position_ids[row, :filled] = torch.tensor(line.positions)
        blocks[row, :filled] = torch.tensor(line.blocks)
        sources += [row * width + column for column in line.sources]
        targets += [token for ids in group.completions for token in ids]
        for owner, ids in zip(group.owners, group.completions, strict=True):
            owners += [owner] * len(ids)
            offsets += range(len(ids))
    return PackedBatch(
        input_ids,
        position_ids,
        _masks(blocks, position_ids, windows, flex_on),
        torch.tensor(sources),
        torch.tensor(targets),
        torch.tensor(owners),
        torch.tensor(offsets),
        min(len(group.prompt) for group in groups),
    )


PROMPT, PADDING = 0, -1


def _masks(
    blocks: Tensor,
    positions: Tensor,
    windows: Mapping[str, int | None],
    flex_on: torch.device | None,
) -> Any:
    """One mask where all layers see alike, which they do while no window is too small."""
    make: Any = block_mask if flex_on is None else partial(flex_mask, flex_on)
    reach = int(positions.max()) + 1  # tokens the last position of all would see
    cuts = {kind: window if window and window < reach else None for kind, window in windows.items()}
    masks = {window: make(blocks, positions, window) for window in set(cuts.values())}
    if len(masks) == 1:
        return masks.popitem()[1]
    return {kind: masks[window] for kind, window in cuts.items()}


def block_mask(blocks: Tensor, positions: Tensor, window: int | None = None) -> Tensor:
    """Who sees whom: int64 [R, L] of PROMPT, 1..G or PADDING -> bool [R, 1, L, L].

    A token sees prompt tokens and tokens of its own block up to itself, and of those the ones whose
    position [R, L] is less than `window` before its own. Padding sees itself, because a query that
    sees nothing would make NaN out of softmax.
    """
    query, key = blocks[:, :, None], blocks[:, None, :]
    width = blocks.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    seen = ((key == PROMPT) | (key == query)) & causal  # [R, L, L]
    if window is not None:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    return seen[:, None]


def flex_mask(
    device: torch.device, blocks: Tensor, positions: Tensor, window: int | None = None
) -> BlockMask:
    """`block_mask` as FlexAttention takes it, which skips tiles in which nothing is seen."""
    from torch.nn.attention.flex_attention import create_block_mask

    block, position = blocks.to(device), positions.to(device)

    def sees(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (block[row, key] == PROMPT) | (block[row, key] == block[row, query])
        near = True if window is None else position[row, query] - position[row, key] < window
        return own & (key <= query) & near

    rows, width = blocks.shape
    return create_block_mask(sees, rows, None, width, width, device=str(device))


@dataclass(frozen=True)
class _Line:
    ids: list[int]
    positions: list[int]
    blocks: list[int]
    sources: list[int]  # columns


def _lay_out(group: Group) -> _Line:
    start = len(group.prompt)
    ids, positions = list(group.prompt), list(range(start))
    blocks, sources = [PROMPT] * start, []
    for number, completion in enumerate(group.completions, start=1):
        # The prompt's last token predicts the first; each input token predicts its successor.
        fed = len(completion) - 1
        sources += [start - 1, *range(len(ids), len(ids) + fed)]
        ids += completion[:-1]
        positions += range(start, start + fed)
        blocks += [number] * fed
    return _Line(ids, positions, blocks, sources)
