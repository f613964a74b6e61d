"""Several processes train one adapter: prompts are dealt out, gradients are summed.

    torchrun --nproc-per-node 2 -m edgetool train --config my.yaml
    accelerate launch -m edgetool train --config my.yaml

Every rank holds the whole base and the whole adapter. Each writes the completions of its share of a
step's prompts, all learn of all of them, each computes the gradient of its share of the groups, and
as all apply the same sum, the adapters stay equal. Rank 0 alone writes files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process, `rank` of `size`. With size 1 nothing is sent anywhere.

    device   where tensors must be to be sent, by torch's name for it
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part: every `size`-th item."""
        return items[self.rank :: self.size]

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in their order."""
        if self.size == 1:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(text)
        lengths = self.sum(lengths)
        texts = torch.zeros(self.size, int(lengths.max()), dtype=torch.uint8)
        texts[self.rank, : len(text)] = text
        texts = self.sum(texts)
        return [
            json.loads(bytes(line[:length].tolist()))
            for line, length in zip(texts, lengths.tolist(), strict=True)
        ]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, on the tensor's own device; the same bits on every rank."""
        if self.size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(tensor.device)

    def any(self, flag: bool) -> bool:
        """Whether it is so on one rank at least."""
        return bool(self.sum(torch.tensor(int(flag))))

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Every parameter's gradient becomes the sum over ranks; none counts as zero."""
        if self.size == 1:
            return
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        )
        totals = self.sum(flat).split([p.numel() for p in parameters])
        for parameter, total in zip(parameters, totals, strict=True):
            parameter.grad = total.view_as(parameter)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks a launcher has started, over NCCL with GPUs and gloo without; or this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    device, backend = "cpu", "gloo"
    if torch.cuda.is_available():
        device, backend = f"cuda:{os.environ.get('LOCAL_RANK', '0')}", "nccl"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(backend)
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
    finally:
        torch.distributed.destroy_process_group()
