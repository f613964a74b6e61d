"""Adapter + base -> an ordinary transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgetool.commands.chat_template import say_left_out, say_template
from edgetool.commands.common import MergeIntoOption, RunArgument, console, group, prepare
from edgetool.run_folder import RunFolder

app = group()


@app.command(help=__doc__)
def merge(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/merged by default.")] = None,
    merge_into: MergeIntoOption = None,
) -> None:
    run_merge(run, out, merge_into, console())


def run_merge(path: Path, out: Path | None, merge_into: str | None, console: Console) -> Path:
    """Adapter + base -> an ordinary transformers folder, by default runs/<name>/merged."""
    from edgetool.fidelity.survey import Subject

    run, target = RunFolder.open(path), out or path / "merged"
    subject = Subject.of_run(run)
    say_template(subject.chat_template(), console)
    say_left_out(subject.base, console)
    prepare(target.parent, console, target.name)
    folder = merge_run(run, target, merge_into)
    console.print(f"merged into {folder}")
    return folder


def merge_run(run: RunFolder, out: Path, merge_into: str | None = None) -> Path:
    """`merge_into` None: into the weights the adapter was trained on."""
    from edgetool.export.merge import merge as merge_adapter
    from edgetool.fidelity.survey import Subject

    subject = Subject.of_run(run)
    target = merge_into or subject.merge_into
    return merge_adapter(
        subject.base,
        run.adapter,
        out,
        target,
        policy_dtype=subject.policy_dtype,
        template=subject.template,
    )
