"""`edgetool merge` and `edgetool export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgetool.catalogue import locate
from edgetool.errors import UsageError
from edgetool.export.merge import merge
from edgetool.export.plan import check_exportable
from edgetool.export.receipt import ExportedFile
from edgetool.export.run import QUANT, export_gguf
from edgetool.export.weights import MERGE_INTO
from edgetool.verbs.run_folder import RunFolder


def run_merge(path: Path, out: Path | None, merge_into: str | None, console: Console) -> Path:
    """Adapter + base -> an ordinary transformers folder, by default runs/<name>/merged."""
    run = RunFolder.open(path)
    folder = merge_run(run, out or path / "merged", merge_into)
    console.print(f"merged into {folder}")
    return folder


def merge_run(run: RunFolder, out: Path, merge_into: str | None = None) -> Path:
    """`merge_into` None: into the weights the adapter was trained on."""
    base, dtype = Path(run.facts["base"]), run.facts["policy_dtype"]
    target = merge_into or _trained_on(run)
    return merge(base, run.adapter, out, target, policy_dtype=dtype)


def _trained_on(run: RunFolder) -> str:
    return MERGE_INTO if run.config.load_in_4bit else "base"


def run_export(
    path: str,
    quants: Sequence[str] | None,
    out: Path | None,
    merge_into: str | None,
    console: Console,
) -> list[ExportedFile]:
    """A run (or a plain model folder) -> GGUF files and their receipt."""
    quants = quants or (QUANT,)
    if (Path(path) / "run.json").is_file():
        files = export_run(RunFolder.open(Path(path)), out or Path(path), quants, merge_into)
    else:
        if out is None:
            raise UsageError(f"{path} is a model, not a run; say where to write with --out FOLDER")
        files = export_gguf(check_exportable(locate(path)), None, out, quants, merge_into="base")
    for file in files:
        console.print(f"{file.path}  {file.size / 2**20:.1f} MB  sha256 {file.sha256[:12]}…")
    return files


def export_run(
    run: RunFolder, out: Path, quants: Sequence[str], merge_into: str | None = None
) -> list[ExportedFile]:
    """GGUF files of a run's trained model; `merge_into` as for `merge_run`."""
    return export_gguf(
        Path(run.facts["base"]),
        run.adapter,
        out,
        quants,
        merge_into=merge_into or _trained_on(run),
        policy_dtype=run.facts["policy_dtype"],
        finetune=run.path.name,
        call_syntax=run.config.call_syntax,
    )
