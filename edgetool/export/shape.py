"""A config.json's hyperparameters under GGUF's names; what llama.cpp's graph lacks is refused.

Models that load and compute something else are the worst outcome of an export: whatever a
configuration sets must either be in the file or stop the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetool.architectures import Architecture, is_tied
from edgetool.errors import ModelError
from edgetool.export.rope import GLOBAL, LOCAL, RopeScaling, read_rope

# No graph here has them, or (the second) transformers and edgetool's trainer part ways over it.
NOT_IN_THE_GRAPH = (
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_bidirectional_attention",
)
GEMMA_27B_LAYERS = 62  # llama.cpp knows this model by them and scales its scores otherwise


@dataclass(frozen=True)
class Window:
    """Layers that see only the last tokens.

    size        tokens, the layer's own included
    layers      which layers they are
    rope_theta  of those layers
    """

    size: int
    layers: tuple[bool, ...]
    rope_theta: float


@dataclass(frozen=True)
class Shape:
    """A decoder's hyperparameters under GGUF's names.

    rope_dimensions  how many values of a head are rotated
    window           None: every layer sees all tokens
    scales           factors by GGUF key, without the architecture before it
    """

    context_length: int
    embedding_length: int
    block_count: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    head_dim: int
    vocab_size: int
    rms_epsilon: float
    rope_theta: float
    rope_dimensions: int
    rope_scaling: RopeScaling
    window: Window | None
    scales: Mapping[str, float]
    tied: bool

    @property
    def heads(self) -> tuple[int, int]:
        """Of queries, and of keys and values."""
        return self.head_count, self.head_count_kv


def read_shape(stored: Mapping[str, Any], architecture: Architecture, where: object) -> Shape:
    """Hyperparameters of a config.json. Raises ModelError for what llama.cpp would ignore."""
    config = {**architecture.assumed, **stored}
    try:
        _refuse_variants(config, architecture, where)
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        head_dim = int(config.get("head_dim") or hidden // heads)
        rope = read_rope(config, GLOBAL, architecture, where)
        shape = Shape(
            context_length=int(config["max_position_embeddings"]),
            embedding_length=hidden,
            block_count=int(config["num_hidden_layers"]),
            feed_forward_length=int(config["intermediate_size"]),
            head_count=heads,
            head_count_kv=int(config.get("num_key_value_heads") or heads),
            head_dim=head_dim,
            vocab_size=int(config["vocab_size"]),
            rms_epsilon=float(config["rms_norm_eps"]),
            rope_theta=rope.theta,
            rope_dimensions=int(head_dim * rope.partial),
            rope_scaling=rope.scaling,
            window=_window(config, architecture, where),
            scales=_scales(config, architecture, where),
            tied=is_tied(stored),
        )
    except KeyError as error:
        raise ModelError(f"{where}: config.json lacks {error}") from error
    _refuse_sizes(config, shape, architecture, where)
    return shape


def _refuse_variants(config: Mapping[str, Any], architecture: Architecture, where: object) -> None:
    activation = config.get("hidden_activation") or config.get("hidden_act", "silu")
    if activation != architecture.activation:
        raise ModelError(
            f"{where}: hidden_act '{activation}' is not in llama.cpp's graph of "
            f"'{architecture.name}' ({architecture.activation})"
        )
    for key in NOT_IN_THE_GRAPH:
        if config.get(key):
            raise ModelError(f"{where}: {key} = {config[key]} cannot become GGUF")
    if architecture.nope_every:
        _require_nope(config, architecture.nope_every, where)


def _require_nope(config: Mapping[str, Any], every: int, where: object) -> None:
    """Where layers rotate nothing is not in the file: llama.cpp's graph has one pattern."""
    layers = range(1, int(config["num_hidden_layers"]) + 1)
    interval = int(config.get("no_rope_layer_interval") or every)
    rotating = config.get("no_rope_layers") or [int(layer % interval != 0) for layer in layers]
    if [bool(rotates) for rotates in rotating] != [layer % every != 0 for layer in layers]:
        raise ModelError(
            f"{where}: no_rope_layers is not in llama.cpp's graph, where every {every}th layer "
            "and no other goes without rotary positions"
        )


def _refuse_sizes(
    config: Mapping[str, Any], shape: Shape, architecture: Architecture, where: object
) -> None:
    if architecture.name == "phi3" and shape.head_dim * shape.head_count != shape.embedding_length:
        raise ModelError(
            f"{where}: {shape.head_count} heads of {shape.head_dim} do not make up hidden_size "
            f"{shape.embedding_length}; llama.cpp's graph of 'phi3' needs them to"
        )
    scalar = config.get("query_pre_attn_scalar")
    usual = shape.head_dim
    if shape.block_count == GEMMA_27B_LAYERS:
        usual = shape.embedding_length // shape.head_count
    if architecture.name == "gemma3" and scalar != usual:
        raise ModelError(
            f"{where}: query_pre_attn_scalar {scalar} is not in llama.cpp's graph ({usual})"
        )


def _window(config: Mapping[str, Any], architecture: Architecture, where: object) -> Window | None:
    size = config.get("sliding_window") if config.get("use_sliding_window") else None
    kinds = _layer_kinds(config, architecture)
    if size is None and LOCAL in kinds:
        raise ModelError(f"{where}: {LOCAL} layers, but no sliding_window or no use_sliding_window")
    if not architecture.slides:
        _require_no_window(size, config, architecture, where)
    if not architecture.slides or LOCAL not in kinds or size is None:
        return None
    local = read_rope(config, LOCAL, architecture, where)
    return Window(int(size), tuple(kind == LOCAL for kind in kinds), local.theta)


def _require_no_window(
    size: int | None, config: Mapping[str, Any], architecture: Architecture, where: object
) -> None:
    """A window as long as the context cuts nothing off: such a one may be left out."""
    if size is not None and size < config["max_position_embeddings"]:
        raise ModelError(
            f"{where}: sliding_window {size} (use_sliding_window) is not in llama.cpp's graph of "
            f"'{architecture.name}'. Contexts up to its size do not need it: to export the model "
            f"for these, set max_position_embeddings in config.json to {size}"
        )


def _layer_kinds(config: Mapping[str, Any], architecture: Architecture) -> list[str]:
    """transformers' name of each layer's attention; none where config.json names none."""
    if config.get("layer_types") or not architecture.slides:
        return list(config.get("layer_types") or ())
    every = int(config.get("sliding_window_pattern") or 6)
    layers = range(1, int(config["num_hidden_layers"]) + 1)
    return [LOCAL if layer % every else GLOBAL for layer in layers]


def _scales(
    config: Mapping[str, Any], architecture: Architecture, where: object
) -> dict[str, float]:
    scales = {}
    for key, name in architecture.scales.items():
        scales[name] = float(config.get(key, 1.0))
        if not scales[name]:
            raise ModelError(f"{where}: {key} is 0, which llama.cpp reads as not set")
    return scales
