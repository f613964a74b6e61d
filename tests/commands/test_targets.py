"""MODEL of `run` and `serve`: a GGUF file, a folder that holds some, or nano."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetool.commands.targets import gguf_of
from edgetool.errors import UsageError


def folder_with(tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "my"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    return folder


def test_a_file_is_itself(tmp_path):
    folder = folder_with(tmp_path, "model.Q8_0.gguf")
    assert gguf_of(str(folder / "model.Q8_0.gguf")) == folder / "model.Q8_0.gguf"


def test_a_folder_with_one_file_is_that_file_and_nothing_is_said(tmp_path, capsys):
    folder = folder_with(tmp_path, "model.IQ4_XS.gguf")
    assert gguf_of(str(folder)) == folder / "model.IQ4_XS.gguf"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("model.F16.gguf", "model.Q8_0.gguf", "model.Q4_K_M.gguf"), "model.Q4_K_M.gguf"),
        (("model.F16.gguf", "model.Q8_0.gguf"), "model.Q8_0.gguf"),
        (("Tiny-7M-my-F16.gguf", "Tiny-7M-my-Q6_K.gguf"), "Tiny-7M-my-Q6_K.gguf"),
        (("another.gguf", "model.F16.gguf"), "model.F16.gguf"),
    ],
)
def test_of_several_files_the_choice_is_said(tmp_path, capsys, names, chosen):
    folder = folder_with(tmp_path, *names)
    assert gguf_of(str(folder)).name == chosen
    said = capsys.readouterr().err
    assert all(name in said for name in names) and f"{chosen} is used" in said


def test_an_adapter_is_no_model(tmp_path):
    folder = folder_with(tmp_path, "adapter.gguf")
    with pytest.raises(UsageError, match=r"holds adapter.gguf alone, which goes beside its base"):
        gguf_of(str(folder))


def test_a_run_that_is_not_exported_names_the_command(tmp_path):
    folder = folder_with(tmp_path)
    (folder / "run.json").write_text("{}")
    with pytest.raises(UsageError) as error:
        gguf_of(str(folder))
    assert str(error.value).endswith(f"type: edgetool export {folder}")


def test_what_is_not_there_says_what_could_be(tmp_path):
    with pytest.raises(UsageError, match="no such file; give a GGUF file, a run folder"):
        gguf_of(str(tmp_path / "none.gguf"))


def test_nano_is_written_once_into_the_users_cache(tmp_path, monkeypatch, capsys):
    pytest.importorskip("llama_cpp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = gguf_of("nano")
    assert path.is_relative_to(tmp_path / "edgetool") and path.name == "nano.Q8_0.gguf"
    assert f"writing {path}, once" in capsys.readouterr().err
    receipt = json.loads((path.parent / "receipt.json").read_text())
    assert [file["quant"] for file in receipt["files"]] == ["Q8_0"]
    written = path.stat().st_mtime_ns
    assert gguf_of("nano") == path and path.stat().st_mtime_ns == written
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"file: could not be written: .*XDG_CACHE_HOME=FOLDER"):
        gguf_of("nano")
