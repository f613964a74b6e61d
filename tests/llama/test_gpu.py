from __future__ import annotations

import pytest

from edgetool.llama.memory import (
    ALL_LAYERS,
    WORKING_BYTES,
    Footprint,
    Layer,
    free_gpu_bytes,
    gpu_layers,
    layers_that_fit,
)

MIB = 2**20
# 9 layers and an output: 100 MiB each, and 1 KiB of cache for a token
MODEL = Footprint(weights=1000 * MIB, layers=(Layer(512), Layer(512)), blocks=9)
ONCE = 4 * 64 * 256  # the mask of attention: a float for each of 64 tokens and 256 cells


@pytest.mark.parametrize(
    ("room", "layers"),
    [
        (0, 0),
        (99, 0),
        (101, 1),
        (550, 5),
        (999, 9),
        (1001, ALL_LAYERS),
    ],
)
def test_as_many_layers_go_to_the_gpu_as_fit(room, layers):
    # no cache to speak of: 256 cells; a tenth of what is free is left alone
    free = int((room * MIB + WORKING_BYTES + ONCE + 256 * 1024) / 0.9) + 1
    assert layers_that_fit(MODEL, free, context=1, sequences=1) == layers


def test_the_cache_takes_its_part():
    # 102,400 tokens x 1 KiB = 100 MiB: 110 MiB a layer, so 5 of them in 600 MiB
    free = int((600 * MIB + WORKING_BYTES + 400 * ONCE) / 0.9)
    assert layers_that_fit(MODEL, free, context=102_400, sequences=1) == 5


def test_a_model_that_says_nothing_of_its_layers_goes_whole_or_not_at_all():
    mute = Footprint(weights=1000 * MIB)
    assert layers_that_fit(mute, 100 * MIB, 4096, 8) == 0
    assert layers_that_fit(mute, 2000 * MIB, 4096, 8) == ALL_LAYERS


def test_without_a_gpu_backend_nothing_goes_there(gguf):
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama.cpp has a GPU backend")
    assert gpu_layers(gguf, 4096, 8) == 0
    assert free_gpu_bytes() == 0
