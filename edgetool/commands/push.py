"""Exported files to the Hugging Face hub, private unless asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgetool.commands.common import RunArgument, console, group
from edgetool.errors import UsageError
from edgetool.export.receipt import FILE

app = group()


@app.command(help=__doc__)
def push(
    run: RunArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hugging Face repository.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it.")] = False,
) -> None:
    run_push(run, repo, console(), public=public)


def run_push(folder: Path, repo: str, console: Console, *, public: bool) -> None:
    """Upload and say where to. Raises UsageError for a folder without an export."""
    from edgetool.export import hub

    if not any((folder / name).is_file() for name in hub.RECEIPTS):
        raise UsageError(
            f"{folder}: no {FILE}, so nothing was exported there; type `edgetool export {folder}`"
        )
    with console.status(f"pushing to {repo}"):
        address = hub.push(folder, repo, public=public)
    console.print(address)
