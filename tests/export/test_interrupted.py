"""A full disk, or a kill at any moment, leaves no file under its final name that is not whole."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from edgetool.export.export import export_gguf
from edgetool.export.receipt import read_receipt

QUANTS = ["Q8_0", "Q4_K_M"]
KILLS = 20
OLD = b"what an earlier export left"

# Says when it begins, so that the time of the imports is not counted.
CHILD = """
import sys
from pathlib import Path
import llama_cpp, transformers
from edgetool.export.export import export_gguf
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
    assert f"EdgetoolError: {tmp_path}: could not be written: the " in said
    assert [file.name for file in tmp_path.iterdir()] == ["model.Q8_0.gguf"]
    assert (tmp_path / "model.Q8_0.gguf").read_bytes() == OLD


@pytest.fixture(scope="module")
def children() -> Iterator[ForkServerContext]:
    """Processes that begin with everything imported, so that a kill costs what an export does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["edgetool.export.export", "gguf", "llama_cpp", "tokenizers"])
    yield context


def export(children: ForkServerContext, model: Path, out: Path) -> ForkServerProcess:
    child = children.Process(target=export_gguf, args=(model, None, out, QUANTS))
    child.start()
    return child


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork server")
def test_a_kill_at_any_moment_leaves_whole_files_and_no_false_receipt(
    tiny_model: Path, tmp_path: Path, children: ForkServerContext
) -> None:
    export(children, tiny_model, tmp_path / "whole").join()  # the server imports once
    began = time.monotonic()
    export(children, tiny_model, tmp_path / "whole").join()
    took, whole = time.monotonic() - began, digests(tmp_path / "whole")
    assert len(whole) == 2
    old, out = hashlib.sha256(OLD).hexdigest(), tmp_path / "out"
    out.mkdir()
    cut_short = 0
    for kill in range(KILLS):
        leave_old_files(out, list(whole))
        child = export(children, tiny_model, out)
        time.sleep(took * kill / KILLS)
        child.kill()
        child.join()
        found = digests(out)
        assert found.keys() == whole.keys()
        assert all(found[name] in (old, whole[name]) for name in whole)
        assert said_in_receipt(out) in (None, found)
        cut_short += found != whole
    assert cut_short > KILLS // 2  # else it was never killed at work
    export_gguf(tiny_model, None, out, QUANTS)
    assert digests(out) == whole == said_in_receipt(out)
    assert not list(out.glob(".*"))


def leave_old_files(out: Path, names: list[str]) -> None:
    """What an earlier export left: files, and a receipt that is true of them."""
    for name in names:
        (out / name).write_bytes(OLD)
    digest = hashlib.sha256(OLD).hexdigest()
    files = [{"path": name, "sha256": digest} for name in names]
    receipt = {"files": files, "fidelity": {}}
    (out / "receipt.json").write_text(json.dumps(receipt), encoding="utf-8")


def said_in_receipt(folder: Path) -> dict[str, str] | None:
    """sha256 by file name; None without a receipt."""
    if not (folder / "receipt.json").exists():
        return None
    receipt = read_receipt(folder / "receipt.json")
    return {file["path"]: file["sha256"] for file in receipt["files"]}
