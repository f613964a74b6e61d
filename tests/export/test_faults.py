"""A disk that fills up leaves the earlier files and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

QUANTS = ["Q8_0", "Q4_K_M"]
OLD = b"what an earlier export left"

# Says when it begins, so that the time of the imports is not counted.
CHILD = """
import sys
from pathlib import Path
import llama_cpp, transformers
from edgetool.export.run import export_gguf
print("ready", flush=True)
export_gguf(Path(sys.argv[1]), None, Path(sys.argv[2]), sys.argv[3:])
"""

# A write beyond the limit fails as one on a full disk does: part of it is written, then an OSError.
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)" + CHILD


def start(model: Path, out: Path, code: str = CHILD) -> subprocess.Popen[str]:
    """A child about to export. `stdout` has said that it begins."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(model), str(out), *QUANTS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout and child.stdout.readline() == "ready\n"
    return child


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
@pytest.mark.parametrize("limit", [1, 50_000, 700_000, 1_300_000])
def test_a_full_disk_leaves_the_earlier_files(tiny_model: Path, tmp_path: Path, limit: int) -> None:
    # tiny_model takes 1.4 MB in Q8_0
    (tmp_path / "model.Q8_0.gguf").write_bytes(OLD)
    child = start(tiny_model, tmp_path, LIMITED.format(limit=limit))
    _, said = child.communicate(timeout=240)
    assert child.returncode == 1
    assert f"EdgetoolError: {tmp_path}: could not be written" in said
    assert [file.name for file in tmp_path.iterdir()] == ["model.Q8_0.gguf"]
    assert (tmp_path / "model.Q8_0.gguf").read_bytes() == OLD
