"""Exported files to the Hugging Face hub, private unless asked."""

from __future__ import annotations

from typing import Annotated

import typer

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
    from edgetool.export import hub

    if not any((run / name).is_file() for name in hub.RECEIPTS):
        raise UsageError(
            f"{run}: no {FILE}, so nothing was exported there; type `edgetool export {run}`"
        )
    shown = console()
    with shown.status(f"pushing to {repo}"):
        address = hub.push(run, repo, public=public)
    shown.print(address)
