"""A full disk, or a kill at any moment, leaves no file under its final name that is not whole."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetool.export.run import export_gguf

QUANTS = ["Q8_0", "Q4_K_M"]
KILLS = 5
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


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every GGUF file under its final name."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.glob("model*.gguf")}


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


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_files_or_the_earlier_ones(
    tiny_model: Path, tmp_path: Path
) -> None:
    began = start(tiny_model, tmp_path / "whole")
    moment = time.monotonic()
    began.communicate(timeout=240)
    took, whole = time.monotonic() - moment, digests(tmp_path / "whole")
    assert len(whole) == 2
    old, cut_short = hashlib.sha256(OLD).hexdigest(), 0
    out = tmp_path / "out"
    out.mkdir()
    for kill in range(KILLS):
        for name in whole:
            (out / name).write_bytes(OLD)
        child = start(tiny_model, out)
        time.sleep(took * kill / KILLS)
        child.kill()
        child.communicate()
        found = digests(out)
        assert found.keys() == whole.keys()
        assert all(found[name] in (old, whole[name]) for name in whole)
        cut_short += found != whole
    assert cut_short > KILLS // 2  # else it was never killed at work
    export_gguf(tiny_model, None, out, QUANTS)
    assert digests(out) == whole
    assert not list(out.glob(".*"))
