"""Quantized tensors are the ones llama.cpp's own quantizer writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetool.errors import UsageError
from edgetool.export.export import export_gguf
from edgetool.export.gguf import ggml
from edgetool.export.gguf.quantize import QUANTS, get_quant, tensor_type
from tests.export.conftest import Folder

SHAPES: dict[str, dict[str, Any]] = {
    # 9 layers: the first and last eighth and every third between get more bits
    "nine layers": {"num_hidden_layers": 9},
    "untied": {"tie_word_embeddings": False},
    # four queries share a value: IQ4_XS gives attn_v more bits
    "one value head": {"num_key_value_heads": 1},
    # 288 and 480 are multiples of 32 but not of 256: Q4_K falls back to Q5_0, Q6_K to Q8_0
    "rows of 288": {"hidden_size": 288, "intermediate_size": 480},
    "untied rows of 288": {"hidden_size": 288, "tie_word_embeddings": False},
    # 80 and 144 are not even multiples of 32: F16
    "rows of 80": {"hidden_size": 80, "intermediate_size": 144},
}


def llama_quantize(source: Path, target: Path, file_type: int) -> None:
    """llama.cpp's own tool."""
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = file_type, 1
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), settings) == 0


def read_tensors(file: Path) -> dict[str, tuple[str, bytes]]:
    from gguf import GGUFReader

    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(file).tensors}


@pytest.fixture(scope="module", params=list(SHAPES))
def exported(
    request: pytest.FixtureRequest, make_model: Folder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with every quantization of one model."""
    folder = tmp_path_factory.mktemp("exported")
    export_gguf(make_model("Llama", **SHAPES[request.param]), None, folder, list(QUANTS))
    return folder


@pytest.mark.parametrize(
    "quant", ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "F16", "BF16"]
)
def test_files_equal_llama_cpps_own_byte_for_byte(
    exported: Path, tmp_path: Path, quant: str
) -> None:
    theirs = tmp_path / "theirs.gguf"
    llama_quantize(exported / "model.F32.gguf", theirs, QUANTS[quant].file_type)
    assert read_tensors(exported / f"model.{quant}.gguf") == read_tensors(theirs)


def test_q8_0_equals_the_gguf_packages_numpy_version() -> None:
    from gguf import GGMLQuantizationType, quants

    values = np.random.default_rng(0).normal(size=(7, 96)).astype(np.float32)
    expected = quants.quantize(values, GGMLQuantizationType.Q8_0)
    assert ggml.quantize(values, "Q8_0").tobytes() == expected.tobytes()


def test_threads_do_not_change_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml, "VALUES_PER_THREAD", 256)
    values = np.random.default_rng(1).normal(size=(13, 256)).astype(np.float32)
    alone = ggml.quantize(values, "Q4_K", threads=1)
    assert np.array_equal(ggml.quantize(values, "Q4_K", threads=4), alone)
    assert alone.nbytes == 13 * 144  # a Q4_K block of 256 values takes 144 bytes


@pytest.mark.parametrize(
    ("layers", "richer"),
    [
        (1, {0}),  # 0 >= 7 * 1 // 8 = 0
        (4, {2, 3}),  # 2 % 3 == 2; 3 >= 28 // 8 = 3
        (24, {0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23}),
    ],
)
def test_q4_k_m_gives_more_bits_to_llama_cpps_layers(layers: int, richer: set[int]) -> None:
    found = {
        layer
        for layer in range(layers)
        if kind(f"blk.{layer}.ffn_down.weight", (64, 256), layers=layers) == "Q6_K"
    }
    assert found == richer


def kind(name: str, shape: tuple[int, ...], *, layers: int = 8, tied: bool = False) -> str:
    quant = get_quant("q4_k_m")
    return tensor_type(
        name, shape, quant,
        layers=layers, tied=tied, queries_per_value=2, weighed=False, block_size=ggml.block_size,
    )  # fmt: skip


def test_vectors_stay_float32() -> None:
    assert kind("blk.3.attn_norm.weight", (256,)) == "F32"
    assert kind("blk.3.attn_q.bias", (256,)) == "F32"


def test_the_embedding_gets_the_outputs_bits_only_when_it_is_the_output() -> None:
    assert kind("token_embd.weight", (512, 256), tied=True) == "Q6_K"
    assert kind("token_embd.weight", (512, 256)) == "Q4_K"


def test_an_unknown_quantization_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'Q9_Z'; known: F32, F16, BF16, Q8_0"):
        get_quant("Q9_Z")
