"""The sizes of a model, read off config.json: enough to say what it takes without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetool.architectures import ARCHITECTURES, IN_EVERY_LAYER, QKV, Architecture, is_tied
from edgetool.errors import ModelError

# Sized for `edgetool models`, though neither trained nor exported.
_HYBRID = "GraniteMoeHybridForCausalLM"
KNOWN = (*ARCHITECTURES, _HYBRID)
_PLAIN = Architecture("", IN_EVERY_LAYER)


@dataclass(frozen=True)
class Linear:
    """One matrix of every layer: in -> out features."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers.

    linears   the matrices of one layer, which are quantized and which LoRA is put on
    small     parameters that are neither those nor embeddings: norms and biases
    packed_bytes   of all layers' matrices in a GGUF file; None: it is no file, and NF4 packs them
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool
    context: int
    linears: tuple[Linear, ...]
    small: int
    packed_bytes: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> Shape:
        """From config.json's keys. Raises ModelError naming a missing key or the architecture."""
        kind = (config.get("architectures") or ["none"])[0]
        if kind not in KNOWN:
            raise ModelError(f"{where}: no sizes are known for {kind}; known: {', '.join(KNOWN)}")
        try:
            return _read(config, kind)
        except KeyError as error:
            raise ModelError(f"{where}: its configuration has no key {error}") from error

    @property
    def linear_weights(self) -> int:
        """Weights of all layers' matrices."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def embeddings(self) -> int:
        """Weights of the embedding and, where it is not the same matrix, the LM head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.linear_weights + self.embeddings + self.small

    def targets(self, names: str | tuple[str, ...]) -> list[Linear]:
        """The matrices of one layer that LoRA goes on; a text stands for all of them."""
        return [one for one in self.linears if isinstance(names, str) or one.name in names]


def _read(config: Mapping[str, Any], kind: str) -> Shape:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or hidden // heads)
    layers, linears = int(config["num_hidden_layers"]), _linears(config, kind, head_dim)
    architecture = ARCHITECTURES.get(kind, _PLAIN)
    norms = architecture.norms * hidden
    head_norms = 2 * head_dim if architecture.head_norms else 0
    biases = sum(linear.outputs for linear in linears if linear.bias)
    return Shape(
        vocabulary=int(config["vocab_size"]),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_intermediate(config, kind),
        tied=is_tied(config),
        context=int(config["max_position_embeddings"]),
        linears=linears,
        small=layers * (norms + head_norms + biases) + hidden,
    )


def _intermediate(config: Mapping[str, Any], kind: str) -> int:
    return int(config["shared_intermediate_size" if kind == _HYBRID else "intermediate_size"])


def _linears(config: Mapping[str, Any], kind: str, head_dim: int) -> tuple[Linear, ...]:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    queries = heads * head_dim
    shared = int(config.get("num_key_value_heads") or heads) * head_dim
    every = bool(config.get("attention_bias", False))
    architecture = ARCHITECTURES.get(kind, _PLAIN)
    qkv = every or architecture.biased == QKV
    wide, bias = _intermediate(config, kind), bool(config.get("mlp_bias", False))
    if architecture.fused:
        return (
            Linear("qkv_proj", hidden, queries + 2 * shared),
            Linear("o_proj", queries, hidden),
            Linear("gate_up_proj", hidden, 2 * wide),
            Linear("down_proj", wide, hidden),
        )
    attention = (
        Linear("q_proj", hidden, queries, qkv),
        Linear("k_proj", hidden, shared, qkv),
        Linear("v_proj", hidden, shared, qkv),
        Linear("o_proj", queries, hidden, every),
    )
    if kind == _HYBRID:
        return (
            *attention,
            Linear("input_linear", hidden, 2 * wide),
            Linear("output_linear", wide, hidden),
        )
    return (
        *attention,
        Linear("gate_proj", hidden, wide, bias),
        Linear("up_proj", hidden, wide, bias),
        Linear("down_proj", wide, hidden, bias),
    )
