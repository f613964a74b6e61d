"""`edgetool export --converter PATH`: what the export does not know, by llama.cpp's own script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from edgetool.commands.common import say_file
from edgetool.commands.export_shipping import write_card
from edgetool.errors import UsageError
from edgetool.export.converter import export_converted, find_script
from edgetool.export.receipt import ExportedFile
from edgetool.export.weights import MERGE_TARGETS
from edgetool.fidelity.survey import Subject
from edgetool.gguf_header import is_gguf


def run_converted(
    path: Path,
    subject: Subject,
    out: Path,
    quants: Sequence[str],
    merge_into: str | None,
    console: Console,
) -> list[ExportedFile]:
    """Files that are not measured. `path` is a llama.cpp checkout, or the script in it."""
    target = merge_into or subject.merge_into
    if target not in MERGE_TARGETS:
        raise UsageError(
            f"--merge-into {target}: with --converter one of {' and '.join(MERGE_TARGETS)}"
        )
    if is_gguf(subject.base):
        raise UsageError(f"--converter: {subject.base} is a GGUF file already; leave it out")
    script = find_script(path)
    with console.status(f"{script.name}: {subject.base.name}"):
        files, mismatches = export_converted(
            script,
            subject.base,
            subject.adapter,
            out,
            quants,
            merge_into=target,
            policy_dtype=subject.policy_dtype,
            template=subject.template,
        )
    write_card(subject, out, console)
    for file in files:
        say_file(file, console)
    console.print("not measured: another script wrote them; try them out with edgetool eval")
    if mismatches:
        console.print(
            f"warning: llama.cpp cuts {len(mismatches)} of the texts tried into other tokens than "
            f"the model's tokenizer, {mismatches[0]!r} for one",
            markup=False,
        )
    return files


def require_no_others(options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that would be ignored; `options` by name, as given."""
    for option in (name for name, given in options.items() if given):
        raise UsageError(f"{option} does not go with --converter, whose files are not measured")
