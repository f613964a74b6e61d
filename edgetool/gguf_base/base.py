"""A GGUF file opened as a base model, by transformers' names and in its layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgetool.architectures import (
    ARCHITECTURES,
    Architecture,
    expected_biases,
    gguf_name,
    is_tied,
)
from edgetool.errors import ModelError
from edgetool.gguf_base.config import LLAMA3, LONG, SHORT, read_config
from edgetool.gguf_base.layout import is_interleaved, is_shifted, rows_apart
from edgetool.gguf_base.reader import GgufHeader, GgufTensor, read_gguf
from edgetool.gguf_base.tokenizer import tokenizer_files
from edgetool.gguf_header import once_a_file

COMPUTED = (LLAMA3, LONG, SHORT)  # config.json says what is in them
Rows = TypeVar("Rows", bound=NDArray[Any])


@dataclass(frozen=True)
class BaseTensor:
    """A tensor by transformers' name.

    heads     llama.cpp has its rows interleaved within so many heads; 0: it has not
    shifted   llama.cpp has 1 more of each value
    """

    name: str
    stored: GgufTensor
    heads: int = 0
    shifted: bool = False

    @property
    def moved(self) -> bool:
        return self.heads > 0 or self.shifted

    def in_transformers(self, rows: Rows) -> Rows:
        """Values as the file has them -> as transformers has them."""
        rows = rows_apart(rows, self.heads) if self.heads else rows
        return rows - np.float32(1.0) if self.shifted else rows

    def packed(self, file: Path) -> NDArray[np.uint8]:
        """The bytes of its blocks, uint8 [rows, bytes of a row]; a vector has rows of a value."""
        data = np.fromfile(file, np.uint8, self.stored.size, offset=self.stored.start)
        if data.size != self.stored.size:
            raise ModelError(f"{file}: truncated inside tensor '{self.stored.name}'")
        data = data.reshape(self.stored.shape[0], -1)
        return rows_apart(data, self.heads) if self.heads else data


@dataclass(frozen=True)
class GgufBase:
    """A file's configuration, its other JSON files by name, and its tensors."""

    header: GgufHeader
    config: dict[str, Any]
    files: dict[str, dict[str, Any]]
    tensors: dict[str, BaseTensor]


@once_a_file
def open_base(path: Path) -> GgufBase:
    """Raises ModelError naming a family, type, tokenizer or tensor that is not read or not
    there."""
    header = read_gguf(path)
    config, files = read_config(header), tokenizer_files(header)
    tensors = _tensors(header, config)
    return GgufBase(header, {**config, **files["generation_config.json"]}, files, tensors)


def _tensors(header: GgufHeader, config: Mapping[str, Any]) -> dict[str, BaseTensor]:
    """Every tensor in its place, by transformers' name."""
    architecture, rest = ARCHITECTURES[config["architectures"][0]], dict(header.tensors)
    found = {}
    for name, shape in _shapes(config, architecture).items():
        theirs = str(gguf_name(name, architecture))
        if (stored := rest.pop(theirs, None)) is None:
            raise ModelError(f"{header.path}: the tensor {theirs} is missing")
        if stored.shape != shape:
            raise ModelError(
                f"{header.path}: the tensor {theirs} is {stored.shape}, and its keys say {shape}"
            )
        heads = config["num_attention_heads" if ".attn_q." in theirs else "num_key_value_heads"]
        found[name] = BaseTensor(
            name,
            stored,
            heads if is_interleaved(theirs, architecture) else 0,
            is_shifted(theirs, architecture),
        )
    if unknown := sorted(rest.keys() - set(COMPUTED)):
        raise ModelError(
            f"{header.path}: the tensor {unknown[0]} has no place in a model of the family "
            f"'{architecture.name}'"
        )
    return found


def _shapes(config: Mapping[str, Any], architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a model of this configuration has."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    shared = config["num_key_value_heads"] * config["head_dim"]
    sizes = {
        "q_proj": (queries, hidden), "k_proj": (shared, hidden), "v_proj": (shared, hidden),
        "qkv_proj": (queries + 2 * shared, hidden), "o_proj": (hidden, queries),
        "gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide),
        "gate_up_proj": (2 * wide, hidden), "q_norm": (config["head_dim"],),
        "k_norm": (config["head_dim"],),
    }  # fmt: skip
    embedding = (config["vocab_size"], hidden)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": embedding}
    biases = expected_biases(architecture, config)
    for layer in range(config["num_hidden_layers"]):
        for module in architecture.layer:
            name, shape = f"model.layers.{layer}.{module}", sizes.get(module.split(".")[-1])
            found[f"{name}.weight"] = shape or (hidden,)
            if module in biases and shape:
                found[f"{name}.bias"] = shape[:1]
    found["model.norm.weight"] = (hidden,)
    return found if is_tied(config) else {**found, "lm_head.weight": embedding}
