"""safetensors in and out, checked against the reference library."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgetool.errors import ModelError
from edgetool.export.safetensors_io import read_header, write_stream

VALUES = torch.tensor([[1.0, -2.5, 3.14159], [65504.0, 1e-7, 0.0]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_dtype_reads_as_its_float32_value(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = VALUES.to(dtype)
    save_file({"odd": torch.ones(3, dtype=dtype), "x": stored}, tmp_path / "a.safetensors")
    read = read_header(tmp_path / "a.safetensors")["x"].read()
    assert read.dtype == np.float32
    assert np.array_equal(read, stored.float().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_written_the_reference_library_reads(tmp_path: Path, dtype: str) -> None:
    tensors = {"x": VALUES.numpy(), "y": np.arange(5, dtype=np.float32) / 3}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    write_stream(tmp_path / "a.safetensors", shapes, tensors.values(), dtype)
    loaded = load_file(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        expected = torch.from_numpy(tensor).to(getattr(torch, dtype))
        assert loaded[name].dtype == expected.dtype
        assert torch.equal(loaded[name], expected)


def test_a_value_beyond_float16_is_refused_with_its_tensor(tmp_path: Path) -> None:
    huge = np.array([70000.0], dtype=np.float32)
    with pytest.raises(ModelError, match="'huge' holds 70000"):
        write_stream(tmp_path / "a.safetensors", {"huge": (1,)}, [huge], "float16")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    save_file({"sick": torch.tensor([0.0, bad])}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="'sick' holds NaN or infinite"):
        read_header(tmp_path / "a.safetensors")["sick"].read()


def test_a_truncated_file_names_the_tensor_it_ends_in(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(64), "z": torch.ones(64)}, file)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelError, match="truncated inside tensor 'z'"):
        read_header(file)


def framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + b"\0" * 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10) + b'{"a": 1 } ',
        framed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}'),
        framed(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}'),
        framed(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}'),
        framed(b'{"a":{"dtype":"F32"}}'),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        read_header(tmp_path / "a.safetensors")


def test_quantized_storage_is_refused_by_dtype(tmp_path: Path) -> None:
    save_file({"packed": torch.ones(4, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="'packed' is stored as U8"):
        read_header(tmp_path / "a.safetensors")
