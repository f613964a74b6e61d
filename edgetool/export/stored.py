"""Which of a folder's stored tensors a model computes with: those that transformers 5 loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetool.architectures import (
    ARCHITECTURES,
    expected_biases,
    find_architecture,
    is_tied,
    layer_of,
)
from edgetool.export.model_folder import ModelFolder
from edgetool.export.safetensors_io import StoredTensor

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def computed_tensors(folder: ModelFolder) -> dict[str, StoredTensor]:
    """The tensors a model computes with, by name.

    A tied model has one matrix for embedding and head. Where both are stored and differ,
    config.json is wrong and both are used, as transformers does since 5.8. What `left_out` names is
    not there.
    """
    tensors = folder.tensors()
    for name in _left_out(tensors, folder):
        del tensors[name]
    if is_tied(folder.config) and HEAD in tensors:
        if EMBEDDING not in tensors:
            tensors[EMBEDDING] = tensors.pop(HEAD)
        elif _same_values(tensors[HEAD], tensors[EMBEDDING]):
            del tensors[HEAD]
    return tensors


def left_out(path: Path) -> str | None:
    """A line about stored tensors that the model has no place for; None without any."""
    folder = ModelFolder.open(path)
    names = _left_out(folder.tensors(), folder)
    if not names:
        return None
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{path}: stored but left out, as transformers does: {names[0]}{more}; config.json has "
        f"{folder.config['num_hidden_layers']} layers and no such part"
    )


def _left_out(tensors: dict[str, StoredTensor], folder: ModelFolder) -> list[str]:
    """Layers beyond the last one, and biases that config.json switches off."""
    named = (folder.config.get("architectures") or [""])[0]
    if named not in ARCHITECTURES or "num_hidden_layers" not in folder.config:
        return []
    architecture = find_architecture(folder.config, folder.path)
    biases = expected_biases(architecture, folder.config)
    layers = int(folder.config["num_hidden_layers"])

    def unknown(name: str) -> bool:
        layer, module, kind = layer_of(name)
        if layer is None:
            return False
        off = kind == "bias" and module in architecture.biased and module not in biases
        return layer >= layers or off

    return sorted(filter(unknown, tensors))


def _same_values(one: StoredTensor, other: StoredTensor) -> bool:
    if one.shape != other.shape:
        return False
    pairs = zip(one.blocks(), other.blocks(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
