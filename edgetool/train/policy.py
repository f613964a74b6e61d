"""The policy: a base model whose weights went through NF4, and a LoRA adapter on top.

The base is quantized to 4-bit NF4 with double quantization (QLoRA, arXiv:2305.14314). On a GPU the
4-bit weights stay and bitsandbytes expands them in each matrix product. On a CPU that expansion
costs many times the product itself, so a base that is small enough is expanded once after loading:
the same numbers, more memory, far less time. Either way the trained model is

    W x + (lora_alpha / r) B A x,   W = dequantize(NF4(base)),   A and B in float32.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgetool.architectures import exact_context
from edgetool.calls.prompt.prompt import Prompter


@cache
def _cache_argument(forward: Callable[..., Any]) -> str:
    """What transformers calls a model's cache: `cache`, or past_key_values in older versions."""
    known = inspect.signature(forward).parameters
    return "cache" if "cache" in known else "past_key_values"


@dataclass
class Network:
    """A causal LM in two halves, so that logits are made only where they are wanted."""

    causal: Any

    def hidden(self, input_ids: Tensor, cache: Any = None, **options: Any) -> Any:
        """[R, L] ids -> transformers' output, whose last_hidden_state is [R, L, H].

        cache   keys and values of what stands before them; those of `input_ids` are added
        """
        model = self.causal.base_model
        if cache is not None:
            options |= {_cache_argument(type(model).forward): cache, "use_cache": True}
        return model(input_ids=input_ids, **options)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., H] -> float32 [..., V]."""
        logits = self.causal.get_output_embeddings()(hidden).float()
        return logits / getattr(self.causal.config, "logits_scaling", 1.0)  # Granite


@dataclass
class Policy:
    """A model that writes completions and, when it carries an adapter, learns.

    name         folder or hub id of the base
    causal       the transformers model, its linear layers wrapped by peft when there is an adapter
    stop_ids     tokens that end a completion
    start        the matrices an adapter that was trained before began with, in `trainable`'s order
    attn_implementation   of the training pass: sdpa, or flex_attention on a GPU
    recordable   no decoding step has failed to be recorded as a CUDA graph so far
    """

    name: str
    causal: Any
    tokenizer: Any
    prompter: Prompter
    stop_ids: tuple[int, ...]
    device: torch.device
    adapter: Any = None  # peft.PeftModel
    start: Sequence[Tensor] | None = field(default=None, repr=False)
    attn_implementation: str = "sdpa"
    recordable: bool = True
    _twin: Any = field(default=None, repr=False)
    _adapter_on: bool = field(default=True, repr=False)

    @property
    def network(self) -> Network:
        return Network(self.causal)

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and completion together."""
        return exact_context(self.causal.config)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices by name, float32."""
        return {n: p for n, p in self.causal.named_parameters() if p.requires_grad}

    @contextmanager
    def reference(self) -> Iterator[Policy]:
        """The reference policy: what training began with.

        That is the base, its adapter switched off, unless the adapter had been trained before; then
        it is the base with that adapter, as in TRL since its pull request 4723. KL to the base
        would pull back what the warm start has taught.
        """
        if self.adapter is None:
            yield self
            return
        if self.start is not None:
            with self._holding(self.start):
                yield self
            return
        with self.adapter.disable_adapter():
            self._adapter_on = False
            try:
                yield self
            finally:
                self._adapter_on = True

    @contextmanager
    def _holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Other values in the adapter's matrices for a while."""
        matrices = list(self.trainable().values())
        own = [matrix.detach().clone() for matrix in matrices]
        _copy(values, matrices)
        try:
            yield
        finally:
            _copy(own, matrices)

    @contextmanager
    def decoding(self) -> Iterator[Network]:
        """The network to write completions with: eval mode, no dropout, no gradients.

        Where the base is expanded this is a twin with W + (lora_alpha / r) B A in place of each
        pair, made anew each time, which saves two small products and three additions per layer and
        token. The base itself is never merged into: rounding would add up over the steps.
        """
        causal = self.causal
        if self._twin is not None:
            _refresh(self._twin, causal, with_adapter=self._adapter_on)
            causal = self._twin
        was_training = causal.training
        causal.eval()
        try:
            with torch.no_grad():
                yield Network(causal)
        finally:
            causal.train(was_training)

    def decode(self, token_ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of completions [C], the stop token left out, call markers kept."""
        bare = [[t for t in ids if t not in self.stop_ids] for ids in token_ids]
        return list(
            self.tokenizer.batch_decode(
                bare, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def save_adapter(self, folder: Path) -> None:
        """Write adapter_model.safetensors and adapter_config.json, as peft reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        self.adapter.save_pretrained(folder, safe_serialization=True)


@torch.no_grad()
def _copy(values: Sequence[Tensor], matrices: Sequence[Tensor]) -> None:
    for matrix, value in zip(matrices, values, strict=True):
        matrix.copy_(value)


def twin_of(causal: Any) -> Any:
    """A copy that shares everything but the weights of linear layers other than the LM head."""
    head = causal.get_output_embeddings()
    own = {
        id(module.weight)
        for module in causal.modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    shared: dict[int, Any] = {id(p): p for p in causal.parameters() if id(p) not in own}
    shared[id(causal.config)] = causal.config
    return copy.deepcopy(causal, shared)


@torch.no_grad()
def _refresh(twin: nn.Module, causal: nn.Module, *, with_adapter: bool) -> None:
    """Write W + (lora_alpha / r) B A, or W alone, into the twin."""
    from peft.tuners.lora import LoraLayer

    places: dict[str, Any] = dict(twin.named_modules())
    layers: list[tuple[str, Any]] = [
        (name, layer) for name, layer in causal.named_modules() if isinstance(layer, LoraLayer)
    ]
    for name, layer in layers:
        target, base = places[name].weight, layer.get_base_layer().weight
        target.copy_(base)
        for key in layer.active_adapters if with_adapter else ():
            target.add_(layer.get_delta_weight(key).to(target.dtype))
