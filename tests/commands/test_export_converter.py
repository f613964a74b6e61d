"""`edgetool export --converter PATH`, from what is typed to what stands there afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgetool.commands.export import ExportOptions, run_export
from edgetool.errors import ModelError
from tests.commands.conftest import Said
from tests.export.conftest import edit_json
from tests.export.test_converter import CONVERT, UNKNOWN, write_script


@pytest.fixture()
def unknown(tiny_model: Path, tmp_path: Path) -> Path:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit_json(model / "config.json", architectures=[UNKNOWN])
    return model


def test_the_refusal_names_the_option_and_the_option_helps(
    unknown: Path, tmp_path: Path, console: Said
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="--converter PATH"):
        run_export(str(unknown), ExportOptions(out=out), console)
    assert not out.exists()
    script = write_script(tmp_path / "llama.cpp", CONVERT)
    (file,) = run_export(str(unknown), ExportOptions(out=out, converter=script.parent), console)
    assert file.path == out / "model.Q4_K_M.gguf"  # the default here, too
    assert {path.name for path in out.iterdir()} == {file.path.name, "receipt.json", "README.md"}
    assert "not measured: another script wrote them" in console.text


def test_the_model_card_names_all_files_of_the_folder(
    tiny_model: Path, tmp_path: Path, console: Said
) -> None:
    out, script = tmp_path / "out", write_script(tmp_path / "llama.cpp", CONVERT)
    plain = ExportOptions(out=out, quants=("F16",), rows=0)
    run_export(str(tiny_model), plain, console)
    converted = ExportOptions(out=out, quants=("Q8_0",), converter=script)
    run_export(str(tiny_model), converted, console)
    card = (out / "README.md").read_text()
    assert "`model.F16.gguf`" in card and "`model.Q8_0.gguf`" in card
    assert f"Not measured: {script.name} wrote them." in card


def test_a_run_on_an_unknown_base_is_refused_before_it_is_loaded(
    run: Path, unknown: Path, console: Said
) -> None:
    (unknown / "model.safetensors").write_bytes(b"never read")
    edit_json(run / "run.json", base=str(unknown))
    with pytest.raises(ModelError, match=rf"'{UNKNOWN}' cannot become GGUF"):
        run_export(str(run), ExportOptions(), console)
