"""A peft LoRA adapter as weight deltas: W' = W + scale * B @ A (LoRA, arXiv:2106.09685, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetool.adapter_config import (
    CONFIG,
    WEIGHTS,
    LoraNumbers,
    numbers_of,
    read_adapter_config,
)
from edgetool.errors import ModelError
from edgetool.export.model_folder import inside
from edgetool.export.safetensors_io import Floats, StoredTensor, read_header

PREFIX = "base_model.model."  # peft wraps the model twice


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
        if (path / CONFIG).exists():
            inside(path, CONFIG)  # a link may lead elsewhere
        config = read_adapter_config(path)
        if not (path / WEIGHTS).exists():
            raise ModelError(f"{path}: no {WEIGHTS}; pickled adapters are not read")
        numbers = numbers_of(config, path)
        return cls(path, _pairs(read_header(inside(path, WEIGHTS)), numbers, path))

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


def _pairs(
    tensors: Mapping[str, StoredTensor], numbers: LoraNumbers, path: Path
) -> dict[str, LoraPair]:
    halves: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        module, _, half = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        wrapped = name.startswith(PREFIX)  # peft does not find others, and goes on without
        if not wrapped or half not in ("lora_A", "lora_B") or len(tensor.shape) != 2:
            raise ModelError(f"{path}: tensor '{name}' is not part of a plain LoRA")
        halves.setdefault(f"{module}.weight", {})[half] = tensor
    return {name: _pair(name, half, numbers, path) for name, half in halves.items()}


def _pair(
    name: str, halves: Mapping[str, StoredTensor], numbers: LoraNumbers, path: Path
) -> LoraPair:
    if len(halves) != 2 or halves["lora_A"].shape[0] != halves["lora_B"].shape[1]:
        raise ModelError(f"{path}: '{name}' needs lora_A [r, in] and lora_B [out, r]")
    down, up = halves["lora_A"], halves["lora_B"]
    if down.shape[0] != numbers.r:
        raise ModelError(
            f"{path}: '{name}' has rank {down.shape[0]}, but r = {numbers.r} by {CONFIG}, or by "
            "peft's default where it has none"
        )
    return LoraPair(down, up, numbers.scale)
