"""Teaches four attention heads where to look (`scripts/nano/pointers.py`).

Looking a name up by what it means is learned late or never from the answers alone: before it pays,
the list has to be read, the request understood and both compared, in different layers. Told what
to attend to, each head learns its own part at once. The loss is the cross-entropy between a head's
attention and the tokens it should look at, as in guided alignment (arXiv:1607.01628): all of them
alike where it is to read a description, whichever of them it likes elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# (layer, head) of each kind of pointer. What a name means is read before it is chosen, and what is
# chosen before it is written; names and values are copied by heads that share no keys.
HEADS = {"describe": (1, 2), "choose": (2, 0), "name": (3, 0), "value": (3, 2)}
READS_ALL = frozenset({"describe"})


class Guide:
    """Collects, during a model's forward passes, how far its heads look beside their targets."""

    def __init__(self, model: Qwen2ForCausalLM) -> None:
        self._losses: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._targets: Mapping[str, torch.Tensor] = {}
        AttentionInterface.register("guided", self._attend)
        AttentionMaskInterface.register("guided", sdpa_mask)
        model.set_attn_implementation("guided")

    @contextmanager
    def towards(self, targets: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Within: kind -> bool [N, S, K], the keys that each query's head should look at."""
        self._targets = targets
        try:
            yield
        finally:
            self._targets = {}

    def losses(self) -> dict[str, torch.Tensor]:
        """Kind -> mean of -log(attention on targets) since the last call, over queries with any."""
        found = {kind: torch.cat(parts).mean() for kind, parts in self._losses.items()}
        self._losses.clear()
        return found

    def _attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """query [N, heads, S, D], key and value [N, kv heads, K, D], mask bool [N, 1, S, K]."""
        for kind, target in self._targets.items():
            layer, head = HEADS[kind]
            if layer == module.layer_idx:
                shared = key[:, head // module.num_key_value_groups]  # [N, K, D]
                scores = attended(query[:, head], shared, attention_mask, target, scaling)
                self._losses[kind].append(beside(*scores, kind in READS_ALL))
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )


def attended(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    target: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores float32 and targets bool, both [A, K], of the A queries that have a target.

    query [N, S, D], key [N, K, D], mask bool [N, 1, S, K] or None for causal, target bool [N, S, K]
    """
    scores = (query @ key.transpose(1, 2)).float() * scaling  # [N, S, K]
    seen = mask[:, 0] if mask is not None else torch.ones_like(scores[0], dtype=torch.bool).tril()
    wanted = target.any(-1)  # [N, S]
    return scores.masked_fill(~seen, -torch.inf)[wanted], target[wanted]


def beside(scores: torch.Tensor, target: torch.Tensor, all_alike: bool) -> torch.Tensor:
    """-log of the attention on the targets, in sum or, `all_alike`, each in the mean. -> [A]"""
    if all_alike:
        return scores.logsumexp(-1) - scores.masked_fill(~target, 0.0).sum(-1) / target.sum(-1)
    return scores.logsumexp(-1) - scores.masked_fill(~target, -torch.inf).logsumexp(-1)
