"""A GGUF file's hyperparameters as config.json has them; what the table lacks is refused by name.

The table is edgetool/architectures.py, and the other direction export/shape.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.architectures import ARCHITECTURES, Architecture
from edgetool.errors import ModelError
from edgetool.gguf_base.reader import BLOCKS, GgufHeader, GgufTensor
from edgetool.gguf_base.rope import llama3_scaling

# Types of tensors that train/dequantize.py expands.
READABLE = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q5_1", "Q4_K", "Q4_0", "Q4_1", "IQ4_NL",
    "IQ4_XS", "Q3_K", "Q2_K",
)  # fmt: skip
SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
# Keys of models whose graphs compute what transformers' classes of the table do not.
REFUSED = ("expert_count", "attn_logit_softcapping", "final_logit_softcapping")
GEMMA_27B_LAYERS = 62  # llama.cpp knows this model by them and scales its scores otherwise
PATTERN = 6  # Gemma 3: every sixth layer sees all tokens
LONG, SHORT, LLAMA3 = "rope_factors_long.weight", "rope_factors_short.weight", "rope_freqs.weight"


def find_family(header: GgufHeader) -> tuple[str, Architecture]:
    """transformers' class of a file and its row of the table.

    Raises ModelError naming a family or a tensor type that cannot be trained.
    """
    name = header.fields.get("general.architecture")
    if header.fields.get("general.type") == "adapter":
        raise ModelError(f"{header.path}: a LoRA adapter, not a model; give the base's GGUF file")
    for known, architecture in ARCHITECTURES.items():
        if architecture.name == name:
            _require_types(header)
            return known, architecture
    names = ", ".join(dict.fromkeys(row.name for row in ARCHITECTURES.values()))
    raise ModelError(f"{header.path}: models of the family '{name}' are not read; known: {names}")


def _require_types(header: GgufHeader) -> None:
    for tensor in header.tensors.values():
        if tensor.kind not in READABLE:
            raise ModelError(
                f"{header.path}: the tensor {tensor.name} has type {tensor.kind}, which is not "
                f"trained on; known: {', '.join(READABLE)}. Take the same model in another "
                "quantization, such as Q4_K_M"
            )


def read_config(header: GgufHeader) -> dict[str, Any]:
    """config.json of a file. Raises ModelError for what is missing, unknown or makes no sense."""
    named, architecture = find_family(header)
    keys = _Keys(header, architecture.name)
    config: dict[str, Any] = {
        **architecture.assumed,
        "architectures": [named],
        "model_type": architecture.model_type or architecture.name,
        "vocab_size": len(keys.list_of("tokenizer.ggml.tokens")),
        **{ours: keys.size(theirs) for theirs, ours in SIZES.items()},
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "dtype": "float32",
    }
    activation = "hidden_activation" if "hidden_activation" in config else "hidden_act"
    config[activation] = architecture.activation
    config["num_key_value_heads"] = keys.size(
        "attention.head_count_kv", config["num_attention_heads"]
    )
    _read_heads(config, keys)
    _read_rope(config, keys, header)
    _read_biases(config, architecture, header)
    for ours, theirs in architecture.scales.items():
        config[ours] = keys.number(theirs, 1.0)
    if architecture.slides:
        _read_windows(config, keys)
    return config


class _Keys:
    """A family's keys, each with its type checked."""

    def __init__(self, header: GgufHeader, family: str) -> None:
        self.header, self.family = header, family
        for key in REFUSED:
            if value := self.get(key):
                raise ModelError(f"{header.path}: {family}.{key} = {value} is not trained on")

    def get(self, key: str) -> Any:
        return self.header.fields.get(f"{self.family}.{key}")

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number above 0; of a list, the one that all entries are."""
        value = self.get(key)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        value = default if value is None else value
        limit = len(self.header.tensors) if key == "block_count" else 2**31
        if type(value) is not int or not 0 < value <= limit:
            raise self._wrong(key, value, "a whole number above 0, the same for every layer")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value: Any = self.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self._wrong(key, value, "a number above 0")
        return float(np.float64(str(np.float32(value))))  # 1e-05, not 9.999999747378752e-06

    def list_of(self, key: str) -> list[Any]:
        value = self.header.fields.get(key)
        if not isinstance(value, list) or not value:
            raise ModelError(f"{self.header.path}: {key} is missing; the file holds no tokenizer")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> ModelError:
        return ModelError(
            f"{self.header.path}: {self.family}.{key} is {str(value)[:40]}; expected {expected}"
        )


def _read_heads(config: dict[str, Any], keys: _Keys) -> None:
    heads, path = config["num_attention_heads"], keys.header.path
    dim = keys.size("attention.key_length", config["hidden_size"] // heads or 1)
    if keys.size("attention.value_length", dim) != dim:
        raise ModelError(f"{path}: its keys and values have heads of different sizes")
    if heads % config["num_key_value_heads"] or dim % 2:
        raise ModelError(
            f"{path}: {heads} heads of {dim} values do not share {config['num_key_value_heads']}"
        )
    config["head_dim"] = dim
    if "query_pre_attn_scalar" in config:
        large = config["num_hidden_layers"] == GEMMA_27B_LAYERS
        config["query_pre_attn_scalar"] = config["hidden_size"] // heads if large else dim


def _read_rope(config: dict[str, Any], keys: _Keys, header: GgufHeader) -> None:
    rotated = keys.size("rope.dimension_count", config["head_dim"])
    if rotated != config["head_dim"]:
        config["partial_rotary_factor"] = rotated / config["head_dim"]
    kind, tensors = keys.get("rope.scaling.type") or "none", header.tensors
    if LLAMA3 in tensors:
        config["rope_scaling"] = llama3_scaling(
            _floats(tensors[LLAMA3], header), keys.number("rope.freq_base", 10000.0)
        )
        if config["rope_scaling"] is None:
            raise ModelError(f"{header.path}: {LLAMA3} is not made by Llama 3's published rule")
    elif LONG in tensors and SHORT in tensors:
        original = keys.size("rope.scaling.original_context_length")
        config["original_max_position_embeddings"] = original
        config["rope_scaling"] = {
            "rope_type": "longrope",
            "long_factor": _floats(tensors[LONG], header).tolist(),
            "short_factor": _floats(tensors[SHORT], header).tolist(),
            "attention_factor": keys.number("rope.scaling.attn_factor", 1.0),
            "original_max_position_embeddings": original,
        }
    elif kind in ("linear", "yarn"):
        scaling = {"rope_type": kind, "factor": keys.number("rope.scaling.factor")}
        if kind == "yarn":
            original = keys.size("rope.scaling.original_context_length")
            scaling["original_max_position_embeddings"] = original
        config["rope_scaling"] = scaling
    elif kind != "none":
        raise ModelError(f"{header.path}: rope scaling '{str(kind)[:40]}' is not trained on")


def _floats(tensor: GgufTensor, header: GgufHeader) -> NDArray[np.float32]:
    if tensor.kind != "F32":
        raise ModelError(f"{header.path}: {tensor.name} has type {tensor.kind}, expected F32")
    count = tensor.size // BLOCKS["F32"][1]
    return np.fromfile(header.path, "<f4", count, offset=tensor.start)


def _read_biases(config: dict[str, Any], architecture: Architecture, header: GgufHeader) -> None:
    """config.json switches all biases of attention, and all of the FFN."""
    for key, module in (("attention_bias", "attn_q"), ("mlp_bias", "ffn_up")):
        if architecture.biased and f"blk.0.{module}.bias" in header.tensors:
            config[key] = True


def _read_windows(config: dict[str, Any], keys: _Keys) -> None:
    if keys.get("attention.sliding_window") is None:
        config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
        return
    config["sliding_window"] = keys.size("attention.sliding_window")
    config["rope_local_base_freq"] = keys.number("rope.freq_base_swa", 10000.0)
    layers, slides = config["num_hidden_layers"], keys.get("attention.sliding_window_pattern")
    if not isinstance(slides, list):
        every = slides if type(slides) is int and slides > 0 else PATTERN
        slides = [(layer + 1) % every != 0 for layer in range(layers)]
    if len(slides) != layers:
        raise ModelError(f"{keys.header.path}: a window for {len(slides)} of {layers} layers")
    config["layer_types"] = [("full_attention", "sliding_attention")[bool(s)] for s in slides]
