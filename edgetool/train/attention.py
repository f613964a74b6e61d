"""Attention of a decoding step in which a group's completions share one copy of their prompt's KV.

S = B * G slots decode one token each. The prompt's keys and values exist once per group,
[B, KV, P, D]; each slot has its own for what it wrote so far, [S, KV, t, D]. Scores against both
are put side by side and go through one softmax, which is plain attention over prompt and
completion, read G times cheaper. H attention heads share KV key heads, `repeats` = H / KV.

A sliding-window layer scores only the last `window` tokens, the one being decoded included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

NAME = "edgetool"
FIRST_CAPACITY = 64


def register() -> None:
    """Make `attn_implementation="edgetool"` known to transformers: sdpa, ours while decoding."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    group_cache: GroupCache | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The signature transformers calls. `group_cache` comes through the model's forward.

    sliding_window   what a layer that has one says; a mask that is given takes it into account
    """
    if group_cache is not None:
        out = group_cache.attend(module.layer_idx, query, key, value, scaling, sliding_window)
        return out, None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    out, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )
    return out, None


@dataclass
class GroupCache:
    """Keys and values of B prompts and of S = B * G completions that grow in step.

    prefix_keys, prefix_values   per layer [B, KV, P, D], prompts padded on the right
    prefix_distance              int64 [B, 1, 1, P], how far a prompt token stands before the first
                                 completion token, 1 or more; less for padding
    prefix_bias                  float [B, 1, 1, P], 0 for prompt tokens and -inf for padding
    group_size                   G, slots per prompt
    length                       tokens written so far in every slot
    """

    prefix_keys: list[Tensor]
    prefix_values: list[Tensor]
    prefix_distance: Tensor
    group_size: int
    length: int = 0
    suffix_keys: list[Tensor] = field(default_factory=list)
    suffix_values: list[Tensor] = field(default_factory=list)
    prefix_bias: Tensor = field(init=False)

    def __post_init__(self) -> None:
        padding = self.prefix_distance < 1
        bias = torch.zeros_like(self.prefix_distance, dtype=self.prefix_keys[0].dtype)
        self.prefix_bias = bias.masked_fill_(padding, -math.inf)
        slots = len(self.prefix_distance) * self.group_size
        if not self.suffix_keys:
            for keys in self.prefix_keys:
                shape = (slots, keys.shape[1], FIRST_CAPACITY, keys.shape[3])
                self.suffix_keys.append(keys.new_empty(shape))
                self.suffix_values.append(keys.new_empty(shape))

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token's [S, KV, 1, D] and return all written so far, [S, KV, t, D].

        transformers calls this; the same name and arguments as its own caches.
        """
        if self.length == self.suffix_keys[layer].shape[2]:
            self._double(layer)
        all_keys, all_values = self.suffix_keys[layer], self.suffix_values[layer]
        all_keys[:, :, self.length] = keys[:, :, 0]
        all_values[:, :, self.length] = values[:, :, 0]
        written = self.length + 1
        return all_keys[:, :, :written], all_values[:, :, :written]

    def _double(self, layer: int) -> None:
        for store in (self.suffix_keys, self.suffix_values):
            store[layer] = torch.cat([store[layer], torch.empty_like(store[layer])], dim=2)

    def attend(
        self,
        layer: int,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float,
        window: int | None = None,
    ) -> Tensor:
        """query [S, H, 1, D], keys and values [S, KV, t, D] -> [S, 1, H, D]."""
        if window is not None:
            keys, values = keys[:, :, -window:], values[:, :, -window:]
        slots, heads, _, depth = query.shape
        kv_heads, written = keys.shape[1], keys.shape[2]
        groups, repeats = slots // self.group_size, heads // keys.shape[1]
        prefix = self.prefix_keys[layer].shape[2]
        by_group = (groups, self.group_size, kv_heads, repeats)
        own = query.reshape(slots, kv_heads, repeats, depth) * scale
        shared = own.view(*by_group, depth).transpose(1, 2).reshape(groups, kv_heads, -1, depth)
        prompt_scores = shared @ self.prefix_keys[layer].transpose(2, 3) + self._bias(window)
        own_scores = own @ keys.transpose(2, 3)  # [S, KV, repeats, t]
        prompt_scores = prompt_scores.view(
            groups, kv_heads, self.group_size, repeats, prefix
        ).transpose(1, 2)  # [B, G, KV, repeats, P]
        own_scores = own_scores.view(*by_group, written)
        weights = torch.cat([prompt_scores, own_scores], dim=-1).softmax(dim=-1)
        on_prompt, on_own = weights.split([prefix, written], dim=-1)
        on_prompt = on_prompt.transpose(1, 2).reshape(groups, kv_heads, -1, prefix)
        out = (
            (on_prompt @ self.prefix_values[layer])
            .view(groups, kv_heads, self.group_size, repeats, depth)
            .transpose(1, 2)
        )  # [B, G, KV, repeats, D]
        out = out + (on_own.reshape(slots, kv_heads, repeats, written) @ values).view(
            *by_group, depth
        )
        return out.reshape(slots, 1, heads, depth)

    def _bias(self, window: int | None) -> Tensor:
        """[B, 1, 1, P], 0 for what the token being decoded sees of its prompt, else -inf."""
        if window is None:
            return self.prefix_bias
        return self.prefix_bias.masked_fill(self.prefix_distance + self.length >= window, -math.inf)

    def select(self, groups: Tensor, slots: Tensor, group_size: int) -> GroupCache:
        """The cache of some groups [B'] and some slots [B' * group_size], in that order."""
        return GroupCache(
            [keys[groups] for keys in self.prefix_keys],
            [values[groups] for values in self.prefix_values],
            self.prefix_distance[groups],
            group_size,
            self.length,
            [keys[slots] for keys in self.suffix_keys],
            [values[slots] for values in self.suffix_values],
        )
