"""How many layers of a model go to the GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

from edgetool.llama.memory import Footprint, footprint

ALL = -1  # as llama.cpp has it
# What is left for the rest of the machine: a desktop lives on the same card.
_SHARE = 0.9
_GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU


def gpu_layers(path: Path, context: int, sequences: int) -> int:
    """ALL where the model fits the free memory of the GPUs, else as many layers as do.

    0 where llama.cpp was built without a GPU backend, or finds no GPU.
    """
    import llama_cpp

    if not llama_cpp.llama_supports_gpu_offload():
        return 0
    return layers_that_fit(footprint(path), free_gpu_bytes(), context, sequences)


def layers_that_fit(model: Footprint, free: int, context: int, sequences: int) -> int:
    """Layers that `free` bytes hold, each with its part of the weights and of the cache."""
    room = int(free * _SHARE)
    needed = model.needed(context, sequences)
    if needed <= room:
        return ALL
    once = model.working + model.buffers(context, sequences)
    # the output is as good as one layer more
    each = (needed - once) // (model.blocks + 1)
    return max(0, (room - once) // each) if model.blocks else 0


def free_gpu_bytes() -> int:
    """Free memory of all GPUs that llama.cpp sees.

    llama-cpp-python has no names for ggml's devices, so they are asked through its library.
    """
    from llama_cpp._ggml import libggml as ggml

    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    total = 0
    for number in range(ggml.ggml_backend_dev_count()):
        device = ctypes.c_void_p(ggml.ggml_backend_dev_get(ctypes.c_size_t(number)))
        if ggml.ggml_backend_dev_type(device) in _GPU_TYPES:
            free, whole = ctypes.c_size_t(), ctypes.c_size_t()
            ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(whole))
            total += free.value
    return total
