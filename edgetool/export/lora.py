"""A peft LoRA adapter as weight deltas: W' = W + scale * B @ A (LoRA, arXiv:2106.09685, eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.errors import ModelError
from edgetool.export.model_folder import ModelFolder, inside
from edgetool.export.safetensors_io import Floats, StoredTensor, read_header

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # peft wraps the model twice

# Settings that change what an adapter computes, each with the value that leaves it a plain LoRA.
PLAIN = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
    "layer_replication": None,
    "lora_bias": False,
    "trainable_token_indices": None,
    "target_parameters": None,
}


@dataclass(frozen=True)
class LoraPair:
    """down A [r, in], up B [out, r] and the factor between them."""

    down: StoredTensor
    up: StoredTensor
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    def delta(self) -> Floats:
        """scale * B @ A in float32 [out, in]."""
        return (self.up.read() @ self.down.read()) * self.scale


@dataclass(frozen=True)
class Adapter:
    """An adapter folder: pairs by the name of the base tensor they change."""

    path: Path
    pairs: Mapping[str, LoraPair]

    @classmethod
    def open(cls, path: Path) -> Adapter:
        """Raises ModelError when the folder is no adapter or uses more than plain LoRA."""
        if not (path / CONFIG).exists():
            raise ModelError(f"{path}: no {CONFIG}; an adapter folder is what training wrote")
        config = ModelFolder(path, {}).read_json(CONFIG)
        _require_plain(config, path)
        if not (path / WEIGHTS).exists():
            raise ModelError(f"{path}: no {WEIGHTS}; pickled adapters are not read")
        return cls(path, _pairs(read_header(inside(path, WEIGHTS)), config, path))

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises ModelError when the base lacks a tensor or has it in another size."""
        for name, pair in self.pairs.items():
            if name not in shapes:
                raise ModelError(f"{self.path}: changes '{name}', which the base model lacks")
            if shapes[name] != pair.shape:
                raise ModelError(
                    f"{self.path}: changes '{name}' as {pair.shape}, the base model has "
                    f"{shapes[name]}; merge into the base it was trained on"
                )


def _require_plain(config: Mapping[str, Any], path: Path) -> None:
    if (kind := config.get("peft_type")) != "LORA":
        raise ModelError(f"{path}: adapter type '{kind}' cannot be merged; supported: LORA")
    for key, plain in PLAIN.items():
        value = config.get(key)
        if value and value != plain:
            raise ModelError(
                f"{path}: adapter_config.json has {key} = {value!r}, which edgetool cannot merge; "
                f"train with {key} = {plain!r}"
            )


def _pairs(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], path: Path
) -> dict[str, LoraPair]:
    halves: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        module, _, half = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if half not in ("lora_A", "lora_B") or len(tensor.shape) != 2:
            raise ModelError(f"{path}: tensor '{name}' is not part of a plain LoRA")
        halves.setdefault(f"{module}.weight", {})[half] = tensor
    return {name: _pair(name, half, config, path) for name, half in halves.items()}


def _pair(
    name: str, halves: Mapping[str, StoredTensor], config: Mapping[str, Any], path: Path
) -> LoraPair:
    if len(halves) != 2 or halves["lora_A"].shape[0] != halves["lora_B"].shape[1]:
        raise ModelError(f"{path}: '{name}' needs lora_A [r, in] and lora_B [out, r]")
    down, up = halves["lora_A"], halves["lora_B"]
    rank = down.shape[0]
    # Rank-stabilised LoRA (arXiv:2312.03732) divides by sqrt(r).
    divisor = math.sqrt(rank) if config.get("use_rslora") else rank
    return LoraPair(down, up, float(config["lora_alpha"]) / divisor)
