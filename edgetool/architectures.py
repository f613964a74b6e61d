"""The one table of architectures: how each transformers model trains, is sized and becomes GGUF.

To add one: a row in `ARCHITECTURES`. What GGUF's header says of it is written by export/shape.py
and read again by gguf_base/config.py; its tensors are moved in gguf_base/layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetool.errors import ModelError

OUTSIDE_LAYERS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
IN_EVERY_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
AROUND_BOTH_HALVES = {  # a norm before attention and before the FFN, and one after each
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
FUSED = {  # Q, K and V as the rows of one matrix, and gate and up as those of another
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
LINEAR = tuple(module for module in IN_EVERY_LAYER if module.endswith("_proj"))
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
GRANITE_SCALES = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    name           general.architecture in GGUF
    model_type     transformers' own name for it, where it is another
    layer          transformers module of a layer -> GGUF name within `blk.N.`
    biased         modules that llama.cpp gives a bias
    permute_qk     llama.cpp rotates neighbouring pairs where transformers rotates halves
    norms_add_one  transformers multiplies with 1 + weight, llama.cpp with the weight
    activation     the one in llama.cpp's graph
    rope_kinds     ways of squeezing positions that llama.cpp's graph follows
    partial_rope   it can leave a part of each head as it is
    slides         its graph has layers with a sliding window
    nope_every     every so many layers it rotates nothing; 0: it always rotates
    scales         config.json's factors -> their keys in GGUF; 1.0 where not set
    assumed        what config.json may leave out: transformers' own defaults
    trains_windows transformers follows a sliding window in some or all layers of it

    To train one, nothing may lie between hidden states and logits but one matrix and one factor.
    """

    name: str
    layer: Mapping[str, str]
    model_type: str = ""
    biased: tuple[str, ...] = ()
    permute_qk: bool = False
    norms_add_one: bool = False
    activation: str = "silu"
    rope_kinds: tuple[str, ...] = ("linear", "yarn")
    partial_rope: bool = False
    slides: bool = False
    nope_every: int = 0
    scales: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    trains_windows: bool = True

    @property
    def fused(self) -> bool:
        """Q, K and V are one matrix, and gate and up another."""
        return self.layer is FUSED

    @property
    def norms(self) -> int:
        """Norms of a layer that are as wide as the hidden state."""
        return sum(module.endswith("layernorm") for module in self.layer)

    @property
    def head_norms(self) -> bool:
        """Queries and keys have a norm of their own."""
        return HEAD_NORMS.keys() <= self.layer.keys()


ARCHITECTURES = {
    "Gemma3ForCausalLM": Architecture(
        "gemma3",
        {**IN_EVERY_LAYER, **HEAD_NORMS, **AROUND_BOTH_HALVES},
        model_type="gemma3_text",
        norms_add_one=True,
        activation="gelu_pytorch_tanh",
        rope_kinds=("linear",),
        slides=True,
        assumed={
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072,
            "num_key_value_heads": 4,
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "sliding_window": 4096,
            "tie_word_embeddings": True,
            "use_sliding_window": True,
        },
    ),
    "GraniteForCausalLM": Architecture(
        "granite",
        IN_EVERY_LAYER,
        biased=LINEAR,
        permute_qk=True,
        rope_kinds=("linear", "yarn", "llama3"),
        scales=GRANITE_SCALES,
        trains_windows=False,
    ),
    "LlamaForCausalLM": Architecture(
        "llama",
        IN_EVERY_LAYER,
        biased=LINEAR,
        permute_qk=True,
        rope_kinds=("linear", "yarn", "llama3"),
        trains_windows=False,
    ),
    "MistralForCausalLM": Architecture(
        "llama",
        IN_EVERY_LAYER,
        permute_qk=True,
        rope_kinds=("linear", "yarn", "llama3"),
        assumed={"num_key_value_heads": 8, "sliding_window": 4096, "use_sliding_window": True},
    ),
    "Phi3ForCausalLM": Architecture(
        "phi3",
        FUSED,
        rope_kinds=("longrope",),
        partial_rope=True,
        assumed={"use_sliding_window": True},
    ),
    "Qwen2ForCausalLM": Architecture(
        "qwen2", IN_EVERY_LAYER, biased=QKV, assumed={"sliding_window": 4096}
    ),
    "Qwen3ForCausalLM": Architecture(
        "qwen3",
        {**IN_EVERY_LAYER, **HEAD_NORMS},
        assumed={"head_dim": 128, "sliding_window": 4096},
    ),
    "SmolLM3ForCausalLM": Architecture(
        "smollm3",
        IN_EVERY_LAYER,
        permute_qk=True,
        nope_every=4,
        assumed={"num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
}

# transformers' names for layers that carry a running state from token to token.
STATEFUL = {"conv", "hybrid", "linear_attention", "mamba", "recurrent"}
# Settings that change attention or logits in ways nothing here follows.
REFUSED = ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention")


def find_architecture(config: Mapping[str, Any], where: object) -> Architecture:
    """The table's row for a config.json. Raises ModelError naming an architecture it lacks."""
    named = config.get("architectures") or ["(none named)"]
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise ModelError(
            f"{where}: the weights are already quantized ({method}); start from the original ones"
        )
    if named[0] not in ARCHITECTURES:
        raise ModelError(
            f"{where}: architecture '{named[0]}' cannot become GGUF; "
            f"supported: {', '.join(ARCHITECTURES)}. Where llama.cpp's own script knows it, type "
            "`edgetool export --converter PATH` with the path of a llama.cpp checkout"
        )
    return ARCHITECTURES[named[0]]


def is_tied(config: Mapping[str, Any]) -> bool:
    """Is the token embedding of this config.json also the output matrix?"""
    named = (config.get("architectures") or [""])[0]
    assumed = ARCHITECTURES[named].assumed if named in ARCHITECTURES else {}
    key = "tie_word_embeddings"
    return bool(config.get(key, assumed.get(key, False)))


def gguf_name(tensor: str, architecture: Architecture) -> str | None:
    """A transformers tensor's name in GGUF; None for one that llama.cpp computes itself.

    Raises ModelError for a tensor that the architecture does not have.
    """
    if tensor.endswith("rotary_emb.inv_freq"):
        return None
    module, _, kind = tensor.rpartition(".")
    if module in OUTSIDE_LAYERS and kind == "weight":
        return f"{OUTSIDE_LAYERS[module]}.{kind}"
    layer, module = _split_layer(module)
    named = architecture.layer.get(module)
    known = kind == "weight" or (kind == "bias" and module in architecture.biased)
    if named is None or not known:
        raise ModelError(f"tensor '{tensor}' has no place in GGUF's '{architecture.name}'")
    return f"blk.{layer}.{named}.{kind}"


def expected_biases(architecture: Architecture, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules of a layer that have a bias: always, or where config.json switches it on."""
    if architecture.biased == QKV:
        return QKV

    def on(module: str) -> bool:
        return bool(config.get("mlp_bias" if module.startswith("mlp.") else "attention_bias"))

    return tuple(filter(on, architecture.biased))


def layer_of(tensor: str) -> tuple[int | None, str, str]:
    """model.layers.3.mlp.up_proj.weight -> 3, "mlp.up_proj", "weight"; None outside the layers."""
    module, _, kind = tensor.rpartition(".")
    layer, module = _split_layer(module)
    return (int(layer) if layer else None), module, kind


def is_linear(tensor: str) -> bool:
    """Is this the weight of a layer's linear module, which bitsandbytes holds in NF4?"""
    module, _, kind = tensor.rpartition(".")
    layer, module = _split_layer(module)
    return kind == "weight" and layer != "" and module.endswith("_proj")


def _split_layer(module: str) -> tuple[str, str]:
    parts = module.split(".", 3)  # model.layers.N.rest
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[2].isdecimal():
        return parts[2], parts[3]
    return "", module


def load_config(model: str) -> Any:
    """The checked configuration of a model folder or hub id.

    Raises ModelError for a folder without config.json or safetensors, for an architecture outside
    ARCHITECTURES, for layers it does not have and for soft-capped scores or logits.
    """
    from transformers import AutoConfig

    _check_folder(Path(model))
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{model}: cannot read its configuration: {reason}") from error
    check_config(config, model)
    return config


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        return  # a hub id
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json; expected a transformers model folder")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no .safetensors file; other weight formats can run code when they are "
            "opened, so convert the model with save_pretrained(..., safe_serialization=True)"
        )


def layer_windows(config: Any) -> dict[str, int | None]:
    """Which layer types a model has, and how many tokens each of them sees, its own included.

    None is all of them. A model that names no types has one, full attention or (Mistral) the other.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    kinds = kinds or ["sliding_attention" if window else "full_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}


def exact_context(config: Any) -> int:
    """Most tokens of prompt and completion together.

    With longrope transformers turns positions by the length of the longest row it is shown: only
    within the original context is a row the same alone, beside others and while it is written.
    """
    context = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return context
    return min(context, int(rope["original_max_position_embeddings"]))


def check_config(config: Any, model: str) -> None:
    """Raise ModelError, naming the reason, when the architecture cannot be trained exactly."""
    named = (config.architectures or ["none"])[0]
    windows = layer_windows(getattr(config, "text_config", config))
    if named not in ARCHITECTURES:
        raise ModelError(
            f"{model}: architecture {named} is not supported{_reason(windows)}; "
            f"supported: {', '.join(ARCHITECTURES)}"
        )
    slides = "sliding_attention" in windows
    used = windows.get("sliding_attention") and getattr(config, "use_sliding_window", True)
    unknown = windows.keys() - {"full_attention", "sliding_attention"}
    if unknown or (slides and (not ARCHITECTURES[named].trains_windows or not used)):
        raise ModelError(
            f"{model}: {named} with {', '.join(sorted(windows))} layers and sliding_window = "
            f"{getattr(config, 'sliding_window', None)} is not supported"
        )
    for name in REFUSED:
        if getattr(config, name, None):
            raise ModelError(f"{model}: {name} = {getattr(config, name)} is not supported")


def _reason(windows: dict[str, int | None]) -> str:
    stateful = sorted(STATEFUL & windows.keys())
    if not stateful:
        return ""
    return (
        f", because its {' and '.join(stateful)} layers (linear attention, state space or "
        "convolution) fold a prompt into one running state, and completions can share only a "
        "prompt's keys and values"
    )
