from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgetool.train import checkpoint


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("abc", encoding="utf-8")
    (tmp_path / "inner" / "b.bin").write_bytes(b"\x00\x01")
    checkpoint.seal(tmp_path)
    return tmp_path


def test_a_sealed_folder_is_undamaged(sealed: Path) -> None:
    assert checkpoint.damage(sealed) is None


def test_the_hash_is_the_one_sha256sum_prints(sealed: Path) -> None:
    # printf abc | sha256sum
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert known in (sealed / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "a.txt").unlink(), "a.txt is missing"),
        (lambda folder: (folder / "a.txt").write_bytes(b"ab"), "a.txt has 2 bytes, not 3"),
        (lambda folder: (folder / "a.txt").write_bytes(b"abd"), "a.txt is not what was written"),
        (lambda folder: (folder / "inner" / "b.bin").write_bytes(b"\x00\x00"), "inner/b.bin"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {"a.t'), "manifest.json"),
    ],
)
def test_damage_is_named(sealed: Path, harm: Callable[[Path], object], said: str) -> None:
    harm(sealed)
    assert said in (checkpoint.damage(sealed) or "")
