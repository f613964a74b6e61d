"""Checkpoints: complete or absent.

    runs/<name>/checkpoints/step-000010/
        adapter/                adapter_model.safetensors, adapter_config.json
        optimizer.safetensors   AdamW's two moments per matrix, and of 8-bit ones their scales
        state.json              step, tokens so far, settings, moving averages, AdamW's step counts
        manifest.json           every file's size and SHA-256
    runs/<name>/checkpoints/step-000010-begun/
        the same when a stop fell into the step after it, with begun.* (see partial_step.py)

Everything random in a step is seeded by (seed, step, ...) and the order of rows depends on the step
alone, so the step number is all the state that samplers and generators have.

A checkpoint is built in a staging folder, flushed to disk and renamed; what has no final name was
never finished and is cleared away. What a disk did to it later, the manifest shows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgetool.errors import EdgetoolError
from edgetool.files import building_folder, flush, flush_tree, sha256_of
from edgetool.train.policy import Policy

KEPT = 2
_NAME = re.compile(r"step-(\d{6,})(-begun)?")
_STAGING = ".staging-"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Progress:
    """How far a run has come: finished steps, tokens seen, the settings it ran under, and what else
    its method keeps from step to step (the rewards' moving averages)."""

    step: int
    num_tokens: int
    settings: Mapping[str, Any]
    state: Mapping[str, Any]


def save(
    folder: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    begun: Callable[[Path], None] | None = None,
) -> Path:
    """Write the checkpoint of a finished step into `folder`, then drop all but the newest KEPT.

    begun   adds the files of a next step that was begun
    """
    final = folder / f"step-{progress.step:06d}{'-begun' if begun else ''}"
    staging = folder / f"{_STAGING}{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        _fill(staging, policy, optimizer, progress, begun)
        _set_aside(final)
        staging.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    flush(folder)
    clean(folder)
    return final


def _fill(
    staging: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    begun: Callable[[Path], None] | None,
) -> None:
    policy.save_adapter(staging / "adapter")
    moments, counts = _optimizer_state(policy, optimizer)
    save_file(moments, staging / "optimizer.safetensors")
    state = {
        "step": progress.step,
        "num_tokens": progress.num_tokens,
        "settings": dict(progress.settings),
        "state": dict(progress.state),
        "optimizer_steps": counts,
    }
    (staging / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    if begun:
        begun(staging)
    seal(staging)
    flush_tree(staging)


def clean(folder: Path) -> None:
    """Remove unfinished checkpoints and all but the newest KEPT."""
    for old in complete(folder)[:-KEPT]:
        _set_aside(old)
    sweep(folder)


def sweep(folder: Path) -> int:
    """Remove unfinished checkpoints; returns how many there were."""
    found = list(folder.glob(f"{_STAGING}*"))
    for staging in found:
        shutil.rmtree(staging, ignore_errors=True)
    return len(found)


def _set_aside(path: Path) -> None:
    """Renamed at once, removed later: a half-removed checkpoint never looks complete."""
    if path.exists():
        doomed = path.with_name(f"{_STAGING}{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [
        (int(m[1]), bool(m[2]), path)
        for path in folder.glob("step-*")
        if (m := _NAME.fullmatch(path.name))
    ]
    return [path for _, _, path in sorted(found)]


def newest(folder: Path) -> Path | None:
    found = complete(folder)
    return found[-1] if found else None


def newest_intact(folder: Path, on_note: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is as it was written; None when there is none at all.

    on_note   is told what is wrong with newer ones

    Raises EdgetoolError when all of them are damaged.
    """
    found = complete(folder)
    for path in reversed(found):
        wrong = damage(path)
        if wrong is None:
            return path
        on_note(f"{path} is damaged: {wrong}; looking for an older one")
    if found:
        raise EdgetoolError(
            f"{folder}: every checkpoint is damaged ({found[-1].name}: {wrong}); remove the folder "
            "to start from the first step"
        )
    return None


def restore(path: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> Progress:
    """Load a checkpoint into an adapter and its optimizer.

    Raises EdgetoolError when a file is missing or the adapter has other matrices.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        adapter = load_file(path / "adapter" / "adapter_model.safetensors")
        moments = load_file(path / "optimizer.safetensors")
        progress = Progress(state["step"], state["num_tokens"], state["settings"], state["state"])
        counts = state["optimizer_steps"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EdgetoolError(
            f"{path}: cannot read this checkpoint ({error}); remove the folder to go on from an "
            "older one"
        ) from error
    _load_adapter(path, policy, adapter)
    _load_optimizer(policy, optimizer, moments, counts)
    return progress


def _load_adapter(path: Path, policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    own = {saved_name(name): parameter for name, parameter in policy.trainable().items()}
    differing = sorted(set(own) ^ set(tensors)) or [
        name for name in own if own[name].shape != tensors[name].shape
    ]
    if differing:
        raise EdgetoolError(
            f"{path}: its adapter does not fit this run's LoRA settings (first difference: "
            f"{differing[0]}); resume with the settings it was made with"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


def saved_name(name: str) -> str:
    """peft's files name matrices without the adapter's name and under its own two wrappers."""
    return "base_model.model." + name.replace(".default.", ".")


def _optimizer_state(
    policy: Policy, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Moments by "<matrix>/<moment>", and step counts by matrix. Empty before the first step."""
    moments: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for name, parameter in policy.trainable().items():
        state = optimizer.state.get(parameter)
        if not state:
            continue
        for moment, value in state.items():
            if moment != "step":
                # A copy: 8-bit moments share their code tables, which a file may not.
                moments[f"{name}/{moment}"] = value.detach().clone().contiguous()
        counts[name] = int(state["step"])
    return moments, counts


def _load_optimizer(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    moments: Mapping[str, Tensor],
    counts: Mapping[str, int],
) -> None:
    for name, parameter in policy.trainable().items():
        if name not in counts:
            continue
        # torch's own AdamW counts in a tensor, bitsandbytes' in a number.
        step: Any = torch.tensor(float(counts[name]))
        optimizer.state[parameter] = {
            "step": step if isinstance(optimizer, torch.optim.AdamW) else counts[name],
            **{
                moment: value.to(parameter.device)
                for key, value in moments.items()
                if (moment := key.removeprefix(f"{name}/")) != key
            },
        }


def save_adapter(policy: Policy, folder: Path) -> None:
    """Write the adapter beside its place and swap it in: a crash leaves the old one or the new."""
    with building_folder(folder) as part:
        policy.save_adapter(part)


def seal(folder: Path) -> None:
    """Write manifest.json: SHA-256 and size in bytes of every file below `folder`."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({"files": files}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, None when nothing is. Further files do not matter."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        sealed = {name: (entry["sha256"], entry["bytes"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    for name, (digest, size) in sealed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
        if sha256_of(path) != digest:
            return f"{name} is not what was written"
    return None
