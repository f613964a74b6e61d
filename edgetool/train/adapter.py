"""Starting from an adapter that was trained before: the same matrices, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgetool.adapter_config import CONFIG, DEFAULTS, WEIGHTS, read_adapter_config
from edgetool.errors import ConfigError, ModelError, UsageError
from edgetool.train.checkpoint import saved_name
from edgetool.train.policy import Policy

# peft's settings that change what the same matrices compute, and how they may be set here.
SETTABLE = ("r", "lora_alpha")
FIXED = ("use_rslora",)


def find_adapter(path: Path) -> Path:
    """The adapter folder that a user means by an adapter folder or a run folder.

    Raises UsageError when there is none, ModelError for one that is more than a plain LoRA.
    """
    for folder in (path, path / "adapter"):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            read_adapter_config(folder)
            return folder
    hint = f"expected {CONFIG} and {WEIGHTS} in it"
    if (path / CONFIG).is_file():
        hint = f"it has no {WEIGHTS}, and pickled adapters are not read"
    elif (path / "checkpoints").is_dir():
        hint = (
            "its training is not done; finish it with --resume, or name a checkpoint's adapter, "
            f"such as {path}/checkpoints/step-000050/adapter"
        )
    raise UsageError(f"no adapter to start from at {path}: {hint}")


@dataclass(frozen=True)
class SavedAdapter:
    """peft's adapter_config.json, and the matrices by the names peft saves them under."""

    path: Path
    config: Mapping[str, Any]
    matrices: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> SavedAdapter:
        """Raises ModelError when a file of the folder is damaged, or it is no plain LoRA."""
        config = read_adapter_config(path)
        try:
            return cls(path, config, load_file(path / WEIGHTS))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot read this adapter ({error})") from error


def start_from(policy: Policy, folder: Path, on_note: Callable[[str], None]) -> None:
    """Give the policy's new adapter the values of a saved one, and make them its reference policy.

    on_note   is told when the adapter names another base model, as the same one may lie elsewhere

    Raises ConfigError naming every LoRA setting that differs, with both values and what to type.
    """
    saved = SavedAdapter.read(folder)
    own = {saved_name(name): parameter for name, parameter in policy.trainable().items()}
    _require_fit(saved, policy.adapter.peft_config["default"].to_dict(), own)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(saved.matrices[name])
    policy.start = [p.detach().clone() for p in own.values()]
    trained_on = saved.config.get("base_model_name_or_path")
    if trained_on not in (None, policy.name):
        on_note(f"{folder} was trained on {trained_on}, this run trains on {policy.name}")


def _require_fit(saved: SavedAdapter, config: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    problems, remedies = [], []
    for key in (*SETTABLE, *FIXED):
        there, here = saved.config.get(key, DEFAULTS[key]), config[key]
        if there != here:
            problems.append(f"{key} is {there} there and {here} here")
            remedies += [f"--set lora.{key}={there}"] if key in SETTABLE else []
    there_in, here_in = _modules(saved.matrices), _modules(own)
    if there_in != here_in:
        names, others = ", ".join(there_in), ", ".join(here_in)
        problems.append(f"target_modules are {names} there and {others} here")
        remedies.append(f"--set lora.target_modules='[{names}]'")
    if problems:
        last = f"train with {' '.join(remedies)}" if remedies else "start from another adapter"
        raise ConfigError(
            f"{saved.path} does not fit this run's LoRA settings: {'; '.join(problems)}; {last}"
        )
    for name in sorted(set(own) | set(saved.matrices)):
        there, here = (_shape(side.get(name)) for side in (saved.matrices, own))
        if there != here:
            raise ConfigError(
                f"{saved.path} does not fit this run's base model: {name} is {there} there and "
                f"{here} here; it was trained on {saved.config.get('base_model_name_or_path')}"
            )


def _modules(names: Iterable[str]) -> list[str]:
    """[..., "model.layers.0.self_attn.q_proj.lora_A.weight"] -> ["q_proj"]."""
    return sorted({name.partition(".lora_")[0].rpartition(".")[2] for name in names})


def _shape(matrix: Tensor | None) -> str:
    return "missing" if matrix is None else str(list(matrix.shape))
