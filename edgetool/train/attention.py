"""Attention of a decoding step in which a group's completions share one copy of their prompt's KV.

S = B * G slots decode one token each. The prompt's keys and values exist once per group,
[B, KV, P, D]; each slot has its own for what it wrote so far, [B, KV, G, t, D]. Scores against both
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
SDPA, FLEX = "sdpa", "flex_attention"
FIRST_CAPACITY = 64
# Fewer prompt tokens are not worth a second call.
WORTH_SPLITTING = 128


def register() -> None:
    """Make `attn_implementation="edgetool"` known to transformers: ours while decoding, sdpa else,
    or FlexAttention where the mask is one of its own."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float,
    sliding_window: int | None = None,
    group_cache: GroupCache | None = None,
    prefix: int = 0,
    **options: Any,
) -> tuple[Tensor, None]:
    """The signature transformers calls. The last two come through the model's forward.

    sliding_window   what a layer that has one says; a mask that is given takes it into account
    prefix           so many tokens at the start of every row see what is before them, and no more
    """
    if group_cache is not None:
        return group_cache.attend(module.layer_idx, query, scaling, sliding_window), None
    options["scaling"] = scaling
    if is_flex(attention_mask):
        return _flex()(module, query, key, value, attention_mask, **options)[0], None
    if prefix < WORTH_SPLITTING or (sliding_window is not None and sliding_window < prefix):
        return _sdpa()(module, query, key, value, attention_mask, **options)[0], None
    return _split(prefix, module, query, key, value, attention_mask, **options), None


def _split(
    prefix: int,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    **options: Any,
) -> Tensor:
    """Attention of a prompt and of what follows it, apart: [R, L, H, D].

    A prompt is plainly causal, and for that the kernels leave out what no token sees; with a mask
    they score everything.
    """
    first = slice(0, prefix)
    before, _ = _sdpa()(
        module, query[:, :, first], key[:, :, first], value[:, :, first], None,
        is_causal=True, **options,
    )  # fmt: skip
    mask = mask[:, :, prefix:]  # [R, 1, L - prefix, L]
    behind, _ = _sdpa()(module, query[:, :, prefix:], key, value, mask, **options)
    return torch.cat([before, behind], dim=1)


def is_flex(mask: Any) -> bool:
    return mask is not None and not isinstance(mask, Tensor)


def _sdpa() -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward


def _flex() -> Any:
    from transformers.integrations.flex_attention import flex_attention_forward

    return flex_attention_forward


@dataclass
class GroupCache:
    """Keys and values of B prompts and of S = B * G completions that grow in step.

    prefix_keys, prefix_values   per layer [B, KV, P, D], prompts padded on the right
    prefix_distance              int64 [B, 1, 1, P], how far a prompt token stands before the first
                                 completion token, 1 or more; less for padding
    group_size                   G, slots per prompt
    length                       tokens written so far in every slot
    suffix_keys, suffix_values   per layer [B, KV, G, capacity, D]; the first `length` are written
    """

    prefix_keys: list[Tensor]
    prefix_values: list[Tensor]
    prefix_distance: Tensor
    group_size: int
    length: int = 0
    suffix_keys: list[Tensor] = field(default_factory=list)
    suffix_values: list[Tensor] = field(default_factory=list)
    padded: bool = field(init=False)

    def __post_init__(self) -> None:
        self.padded = bool((self.prefix_distance < 1).any())
        if not self.suffix_keys:
            self.suffix_keys = [self._room(keys) for keys in self.prefix_keys]
            self.suffix_values = [self._room(values) for values in self.prefix_values]

    def _room(self, prefix: Tensor) -> Tensor:
        groups, kv_heads, _, depth = prefix.shape
        like = prefix.new_empty(groups, kv_heads, self.group_size, FIRST_CAPACITY, depth)
        return self._blank(like)

    def make_room(self) -> bool:
        """Have room for another token; True: the stores were full and are other tensors now."""
        if self.length < self.suffix_keys[0].shape[3]:
            return False
        for store in (self.suffix_keys, self.suffix_values):
            store[:] = [torch.cat([kept, self._blank(kept)], dim=3) for kept in store]
        return True

    def _blank(self, like: Tensor) -> Tensor:
        return torch.empty_like(like)

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token's [S, KV, 1, D], for which there is room.

        transformers calls this, with the name and arguments of its own caches. What it hands on to
        the attention function is not read there.
        """
        shape = (-1, self.group_size, *keys.shape[1::2])  # [B, G, KV, D]
        self._write(self.suffix_keys[layer], keys.view(shape).transpose(1, 2))
        self._write(self.suffix_values[layer], values.view(shape).transpose(1, 2))
        return keys, values

    def _write(self, store: Tensor, token: Tensor) -> None:
        store[:, :, :, self.length] = token  # [B, KV, G, D]

    def attend(self, layer: int, query: Tensor, scale: float, window: int | None = None) -> Tensor:
        """What the token that was just written sees: query [S, H, 1, D] -> [S, 1, H, D].

        A group's queries stand side by side, R = G * repeats rows for each key head, so that its
        prompt is read once.
        """
        prompt_keys, prompt_values = self.prefix_keys[layer], self.prefix_values[layer]
        groups, kv_heads, prefix, depth = prompt_keys.shape
        apart = (groups, self.group_size, kv_heads, -1, depth)
        own = (query * scale).view(apart).transpose(1, 2).contiguous()  # [B, KV, G, repeats, D]
        keys, values = self._own(layer, window)  # [B, KV, G, t, D]
        on_prompt = own.flatten(2, 3) @ prompt_keys.transpose(2, 3)  # [B, KV, R, P]
        on_own = (own @ keys.transpose(3, 4)).flatten(2, 3)  # [B, KV, R, t]
        if (bias := self._prompt_bias(window)) is not None:
            on_prompt += bias
        if (bias := self._own_bias(window)) is not None:
            on_own += bias
        weights = torch.cat([on_prompt, on_own], dim=-1).softmax(dim=-1)
        on_prompt, on_own = weights.split([prefix, keys.shape[3]], dim=-1)
        out = (on_own.unflatten(2, own.shape[2:4]) @ values).flatten(2, 3)
        out += on_prompt @ prompt_values
        return out.view_as(own).transpose(1, 2).reshape(len(query), 1, -1, depth)

    def _own(self, layer: int, window: int | None) -> tuple[Tensor, Tensor]:
        """Keys and values of the completions so far, as far back as is seen: [B, KV, G, t, D]."""
        end = self.length + 1
        seen = slice(0 if window is None else max(0, end - window), end)
        return self.suffix_keys[layer][:, :, :, seen], self.suffix_values[layer][:, :, :, seen]

    def _prompt_bias(self, window: int | None) -> Tensor | None:
        """[B, 1, 1, P], 0 for what is seen of the prompt and else -inf; None: all of it is."""
        if window is None and not self.padded:
            return None
        hidden = self.prefix_distance < 1
        if window is not None:
            hidden = hidden | (self.prefix_distance + self._place() >= window)
        return self._bias(hidden)

    def _own_bias(self, window: int | None) -> Tensor | None:
        """As `_prompt_bias` for what `_own` gives: [t]."""
        return None

    def _bias(self, hidden: Tensor) -> Tensor:
        bias = torch.zeros_like(hidden, dtype=self.prefix_keys[0].dtype)
        return bias.masked_fill_(hidden, -math.inf)

    def _place(self) -> int | Tensor:
        """Where in its completion the token stands that was written last."""
        return self.length

    def advance(self) -> None:
        """All layers have written their token."""
        self.length += 1

    def select(self, groups: Tensor, members: Tensor) -> GroupCache:
        """The cache of some groups [B'] and of some of each one's slots [B', G'], in that order."""
        rows = groups[:, None]

        def picked(store: list[Tensor]) -> list[Tensor]:
            # Indexed dimensions that are apart come first: [B', G', KV, t, D].
            return [kept[rows, :, members].transpose(1, 2).contiguous() for kept in store]

        return type(self)(
            [keys[groups] for keys in self.prefix_keys],
            [values[groups] for values in self.prefix_values],
            self.prefix_distance[groups],
            members.shape[1],
            self.length,
            picked(self.suffix_keys),
            picked(self.suffix_values),
        )


@dataclass
class StaticCache(GroupCache):
    """A GroupCache whose shapes and addresses stay while there is room, as a CUDA graph needs them.

    All of the room is scored, and what is not written yet is hidden; the number of tokens is read
    from the device.

    place   int64 [1], `length`
    """

    place: Tensor = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.place = torch.tensor([self.length], device=self.prefix_distance.device)

    def _blank(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)  # hidden by a weight of 0, which NaN would survive

    def _write(self, store: Tensor, token: Tensor) -> None:
        store.index_copy_(3, self.place, token[:, :, :, None])

    def _own(self, layer: int, window: int | None) -> tuple[Tensor, Tensor]:
        return self.suffix_keys[layer], self.suffix_values[layer]

    def _own_bias(self, window: int | None) -> Tensor | None:
        places = torch.arange(self.suffix_keys[0].shape[3], device=self.place.device)
        hidden = places > self.place
        if window is not None:
            hidden |= places <= self.place - window
        return self._bias(hidden)

    def _place(self) -> int | Tensor:
        return self.place

    def advance(self) -> None:
        super().advance()
        self.place += 1
