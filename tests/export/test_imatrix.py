"""The importance matrix: sums by hand, llama.cpp's file, llama.cpp's bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetool.errors import DataError, ModelError
from edgetool.export.export import export_gguf
from edgetool.export.gguf.quantize import QUANTS
from edgetool.export.imatrix import COUNTS, SUMS, ImportanceMatrix, collect
from edgetool.export.plan import make_plan
from edgetool.export.weights import TrainedWeights
from tests.export.conftest import Folder

SEQUENCES = [[5, 9, 300, 17, 42], [7], list(range(100, 140))]
ROWS_OF_288 = {"hidden_size": 288, "intermediate_size": 480}
WEIGHED = [name for name in ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS") if name in QUANTS]


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The means in a file of llama.cpp's format, by GGUF tensor name."""
    from gguf import GGUFReader

    tensors = {tensor.name: np.asarray(tensor.data) for tensor in GGUFReader(path).tensors}
    return {
        name.removesuffix(SUMS): (sums / tensors[name.removesuffix(SUMS) + COUNTS]).reshape(-1)
        for name, sums in tensors.items()
        if name.endswith(SUMS)
    }


def load(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype="float32").eval()


def names_of(model: Path) -> dict[str, str]:
    plan = make_plan(TrainedWeights.open(model, None), name=None, finetune=None)
    return {source: name for name, source in plan.sources.items()}


@pytest.fixture(scope="module")
def matrix(tiny_model: Path) -> ImportanceMatrix:
    return collect(load(tiny_model), SEQUENCES, names_of(tiny_model), "rows.jsonl")


def test_every_matrix_in_a_layer_is_weighed_and_nothing_else(matrix: ImportanceMatrix) -> None:
    assert len(matrix.sums) == 14  # 7 matrices in 2 layers; no norm, no bias, no embedding
    assert all(name.startswith("blk.") for name in matrix.sums)
    assert matrix.sums["blk.1.ffn_down.weight"].shape == (512,)
    assert (matrix.tokens, matrix.rows) == (46, 3)


def test_the_sums_are_those_of_the_normalized_embeddings(
    tiny_model: Path, matrix: ImportanceMatrix
) -> None:
    # what the first layer's q, k and v are given: x / sqrt(mean x^2 + eps) * w
    model = load(tiny_model)
    ids = [token for sequence in SEQUENCES for token in sequence]
    x = model.get_input_embeddings().weight.detach().double().numpy()[ids]
    norm = model.model.layers[0].input_layernorm
    scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.variance_epsilon)
    expected = ((scaled * norm.weight.detach().double().numpy()) ** 2).sum(0)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(matrix.sums[f"blk.0.{name}.weight"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        matrix.weights["blk.0.attn_q.weight"], expected / 46, rtol=1e-5
    )  # fmt: skip


def test_an_adapter_in_the_layers_is_looked_through(tiny_model: Path, adapter: Path) -> None:
    from peft import PeftModel

    base = load(tiny_model)
    PeftModel.from_pretrained(base, adapter)
    found = collect(base, SEQUENCES, names_of(tiny_model), "rows.jsonl")
    plain = collect(load(tiny_model), SEQUENCES, names_of(tiny_model), "rows.jsonl")
    assert found.sums.keys() == plain.sums.keys()
    first, second = "blk.0.attn_q.weight", "blk.1.attn_q.weight"
    np.testing.assert_array_equal(found.sums[first], plain.sums[first])  # nothing before it
    assert not np.allclose(found.sums[second], plain.sums[second], rtol=1e-2)


def test_the_hooks_are_gone_afterwards(tiny_model: Path) -> None:
    model = load(tiny_model)
    collect(model, SEQUENCES, names_of(tiny_model), "rows.jsonl")
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_file_is_what_llama_cpps_tools_read(matrix: ImportanceMatrix, tmp_path: Path) -> None:
    from gguf import GGUFReader

    matrix.write(tmp_path / "imatrix.gguf")
    reader = GGUFReader(tmp_path / "imatrix.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "imatrix"
    assert "general.architecture" not in fields
    assert fields["imatrix.datasets"] == ["rows.jsonl"]
    assert fields["imatrix.chunk_count"] == 3
    assert fields["imatrix.chunk_size"] == 15  # 46 tokens in 3 rows
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes["blk.0.ffn_down.weight.in_sum2"] == [512, 1]
    assert shapes["blk.0.ffn_down.weight.counts"] == [1, 1]
    read = read_weights(tmp_path / "imatrix.gguf")
    assert read.keys() == matrix.sums.keys()
    for name, weights in matrix.weights.items():
        np.testing.assert_array_equal(read[name], weights)


@pytest.mark.parametrize("quant", WEIGHED)
def test_weighed_files_equal_llama_cpps_own_byte_for_byte(
    tiny_model: Path, matrix: ImportanceMatrix, tmp_path: Path, quant: str
) -> None:
    matrix.write(tmp_path / "imatrix.gguf")
    export_gguf(tiny_model, None, tmp_path, ["F32"])
    export_gguf(tiny_model, None, tmp_path, [quant], importance=matrix.weights)
    theirs = tmp_path / "theirs.gguf"
    weights = read_weights(tmp_path / "imatrix.gguf")
    llama_quantize(tmp_path / "model.F32.gguf", theirs, QUANTS[quant].file_type, weights)
    ours = tensors(tmp_path / f"model.{quant}.gguf")
    assert ours == tensors(theirs)
    export_gguf(tiny_model, None, tmp_path / "plain", [quant])
    plain = tensors(tmp_path / "plain" / f"model.{quant}.gguf")
    assert ours["blk.0.attn_q.weight"] != plain["blk.0.attn_q.weight"]  # the weights were used
    assert ours["token_embd.weight"] == plain["token_embd.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["Q8_0", *WEIGHED])
@pytest.mark.parametrize("shape", [{}, {"num_key_value_heads": 1}, ROWS_OF_288])
def test_a_weighed_file_has_llama_cpps_types_in_every_layer(
    make_model: Folder, tmp_path: Path, quant: str, shape: dict[str, int]
) -> None:
    # 9 layers: the first eighth is layer 0, whose ffn_down is Q4_1 in a weighed Q4_0
    model = make_model("Llama", num_hidden_layers=9, **shape)
    plan = make_plan(TrainedWeights.open(model, None), name=None, finetune=None)
    draw = np.random.default_rng(0)
    weights = {
        name: draw.exponential(size=size[-1]).astype(np.float32)
        for name, size in plan.tensors.items()
        if name.startswith("blk.") and len(size) == 2
    }
    export_gguf(model, None, tmp_path, ["F32"])
    export_gguf(model, None, tmp_path, [quant], importance=weights)
    theirs = tmp_path / "theirs.gguf"
    llama_quantize(tmp_path / "model.F32.gguf", theirs, QUANTS[quant].file_type, weights)
    assert tensors(tmp_path / f"model.{quant}.gguf") == tensors(theirs)


def test_a_weighed_file_rounds_what_matters_more_finely() -> None:
    from gguf import GGMLQuantizationType, quants

    from edgetool.export.gguf import ggml

    rng = np.random.default_rng(0)
    values = rng.normal(size=(64, 256)).astype(np.float32)
    importance = np.where(np.arange(256) % 4 == 0, 100.0, 0.01).astype(np.float32)

    def error(weights: np.ndarray | None) -> float:
        packed = ggml.quantize(values, "Q4_K", importance=weights).reshape(64, -1)
        back = quants.dequantize(packed, GGMLQuantizationType.Q4_K)
        return float((importance * (back - values) ** 2).sum())

    assert error(importance) < 0.7 * error(None)


def test_no_rows_make_no_matrix(tiny_model: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: no rows"):
        collect(load(tiny_model), [], names_of(tiny_model), "rows.jsonl")


def test_a_model_whose_activations_are_not_finite_is_refused(tiny_model: Path) -> None:
    import torch

    model = load(tiny_model)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3] = torch.inf
    with pytest.raises(ModelError, match=r"blk\.0\.ffn_down.*not finite"):
        collect(model, SEQUENCES, names_of(tiny_model), "rows.jsonl")


def llama_quantize(
    source: Path, target: Path, file_type: int, weights: Mapping[str, np.ndarray]
) -> None:
    """llama.cpp's own tool with an importance matrix; the list ends with an empty name."""
    import llama_cpp

    entries = (llama_cpp.llama_model_imatrix_data * (len(weights) + 1))()
    for entry, (name, values) in zip(entries, weights.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread, settings.imatrix = file_type, 1, entries
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), settings) == 0


def tensors(file: Path) -> dict[str, tuple[str, bytes]]:
    from gguf import GGUFReader

    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(file).tensors}
