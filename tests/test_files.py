from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetool.files import publish_sealed, read_log


def test_a_log_that_is_not_there_has_no_rows(tmp_path):
    assert read_log(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("torn", ['{"step": 3, "rew', '{"step"', "[1", "3"])
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path, torn):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n' + torn)
    assert read_log(log) == [{"step": 1}, {"step": 2}]


class Cut(BaseException):
    """Stands for a crash: nothing catches it."""


def sealed(folder: Path) -> bool:
    """Is there a seal? It must be true of the files beside it."""
    seal = folder / "seal"
    if not seal.exists():
        return False
    said = json.loads(seal.read_text())
    assert said == {name: (folder / name).read_text() for name in said}
    return True


@pytest.mark.parametrize("earlier", [[], ["a"], ["a", "b"]])
@pytest.mark.parametrize("moment", range(5))
def test_a_seal_is_true_of_the_files_beside_it_after_any_crash(
    tmp_path, monkeypatch, earlier, moment
):
    """Cut before the first, second, ... of four changes of names, and after all of them."""
    for name in earlier:
        (tmp_path / name).write_text("old")
    if earlier:
        (tmp_path / "seal").write_text(json.dumps(dict.fromkeys(earlier, "old")))
    for name in ("a", "b"):
        (tmp_path / f"{name}.part").write_text("new")
    (tmp_path / "seal.part").write_text(json.dumps({"a": "new", "b": "new"}))
    left = [moment]

    def counted(change):
        def cut(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return change(*args, **options)

        return cut

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    parts = {tmp_path / f"{name}.part": tmp_path / name for name in ("a", "b")}
    try:
        publish_sealed(parts, (tmp_path / "seal.part", tmp_path / "seal"))
    except Cut:
        # four changes: the old seal goes, a, b, the new seal comes
        assert sealed(tmp_path) == (moment == 0 and bool(earlier))
        assert all((tmp_path / name).read_text() in ("old", "new") for name in earlier)
    else:
        assert moment == 4 and sealed(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "seal"]
