"""safetensors in and out, checked against the reference library."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgetool.errors import ModelError
from edgetool.export import safetensors_io
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


# 3 x 2 x 5 values; a row has 10, so 1 and 10 give one row a block, 25 two, 30 all three
@pytest.mark.parametrize(
    ("most", "rows"), [(1, [1, 1, 1]), (10, [1, 1, 1]), (25, [2, 1]), (30, [3])]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_are_whole_rows_and_add_up_to_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, most: int, rows: list[int]
) -> None:
    monkeypatch.setattr(safetensors_io, "BLOCK_VALUES", most)
    values = torch.randn(3, 2, 5).to(dtype)
    save_file({"before": torch.ones(7, dtype=dtype), "x": values}, tmp_path / "a.safetensors")
    stored = read_header(tmp_path / "a.safetensors")["x"]
    blocks = list(stored.blocks())
    assert [len(block) for block in blocks] == rows
    assert np.array_equal(np.concatenate(blocks), values.float().numpy())
    assert np.array_equal(stored.read(), values.float().numpy())


def test_a_scalar_is_one_block(tmp_path: Path) -> None:
    save_file({"x": torch.tensor(3.0)}, tmp_path / "a.safetensors")
    stored = read_header(tmp_path / "a.safetensors")["x"]
    assert stored.read().shape == () and [block.tolist() for block in stored.blocks()] == [[3.0]]


@pytest.mark.parametrize("place", [0, 5, 29])
def test_a_block_that_is_not_finite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(safetensors_io, "BLOCK_VALUES", 10)
    values = torch.zeros(30)
    values[place] = torch.nan
    save_file({"sick": values.view(6, 5)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="'sick' holds NaN"):
        list(read_header(tmp_path / "a.safetensors")["sick"].blocks())


PEAK = """
import sys
from pathlib import Path
from edgetool.export.safetensors_io import read_header
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
stored = read_header(Path(sys.argv[1]))["x"]
before = peak()
for block in stored.blocks(): pass
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak memory")
def test_reading_by_blocks_holds_a_piece_of_a_large_tensor(tmp_path: Path) -> None:
    rows, columns = 1 << 17, 1 << 11  # 512 MiB in bfloat16, 1 GiB in float32; a file with a hole
    entry = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [0, 2 * rows * columns]}
    header = json.dumps({"x": entry}).encode()
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2 * rows * columns)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "a.safetensors")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    # a block of 2**24 values: 32 MiB as stored, 64 in float32, 16 to check; the last one's 64 too
    assert float(told.stdout) < 200


def test_a_truncated_file_names_the_tensor_it_ends_in(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(64), "z": torch.ones(64)}, file)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelError, match="truncated inside tensor 'z'"):
        read_header(file)


def test_a_file_cut_short_after_its_header_was_read_names_the_tensor(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"z": torch.ones(64)}, file)
    stored = read_header(file)["z"]
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelError, match="truncated inside tensor 'z'"):
        stored.read()


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
