"""A plan for the machine at hand: how the base will be held there, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgetool.gguf_header import is_gguf
from edgetool.system import MIB, available_mb
from edgetool.train.gguf_model import packed_bytes
from edgetool.train.gradient import CPU_TOKENS, GPU_TOKENS
from edgetool.train.load import EXPAND_LIMIT_BYTES, LoadSettings, compute_dtype, read_config
from edgetool.train.memory.estimate import CUDA_CONTEXT_BYTES, Machine
from edgetool.train.memory.model_shape import Shape
from edgetool.train.settings import StepSettings


def shape_of(model: str | Path) -> Shape:
    """The shape of a folder, hub id or GGUF file. Raises ModelError as `read_config`."""
    values: Mapping[str, Any] = read_config(str(model)).to_dict()
    shape = Shape.of(values, str(model))
    if is_gguf(model):
        return replace(shape, packed_bytes=packed_bytes(model, Machine.value_bytes))
    return shape


def machine_of(shape: Shape, load: LoadSettings, settings: StepSettings) -> Machine:
    """How `load_policy` will hold a model of this shape."""
    device = load.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = compute_dtype(torch.device(device), load.bf16)
    on_cpu = device == "cpu"
    expand = load.dequantize_for_compute
    if expand is None:
        expand = on_cpu and 4 * shape.parameters <= EXPAND_LIMIT_BYTES
    packed = load.load_in_4bit and not expand
    return Machine(
        device=device,
        packed=packed,
        value_bytes=dtype.itemsize,
        twin=on_cpu and not packed,
        group_tokens=CPU_TOKENS if on_cpu else GPU_TOKENS,
    )


def free_mb(machine: Machine) -> float:
    """MiB that a run may take on this machine's device now; 0 where the system does not tell.

    Asking CUDA costs the context that the plan counts, so it is added back.
    """
    if not machine.device.startswith("cuda"):
        return available_mb()
    free, _ = torch.cuda.mem_get_info(machine.device)
    return (free + CUDA_CONTEXT_BYTES) / MIB
