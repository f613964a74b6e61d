"""Look after a list of tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgetool.calls import syntaxes
from edgetool.calls.tools.held import notes, whose
from edgetool.calls.tools.lint import Finding, lint
from edgetool.calls.types import Tool
from edgetool.commands.common import group
from edgetool.data.tool_files import load_tools

_SHOWN = 20

app = group(__doc__)


@app.command("lint")
def lint_tools(
    path: Annotated[Path, typer.Argument(metavar="TOOLS", help="JSON, or a Python file.")],
    syntax: Annotated[
        str | None, typer.Option(help="Compile this call syntax's grammars only; all by default.")
    ] = None,
) -> None:
    """Name what small models or grammars will stumble over.

    Exit code 0 when nothing was found, 1 otherwise. What grammars leave open is a note.
    """
    names = (syntax,) if syntax else syntaxes.names()
    tools = load_tools(path)
    findings = lint(tools) + _refused(tools, names)
    for finding in findings:
        print(finding)
    print_notes(tools, names)
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    print(f"{path}: {len(tools)} tool{'s' * (len(tools) != 1)}, {count}")
    if findings:
        raise typer.Exit(1)


def print_notes(tools: Iterable[Tool], names: Sequence[str] = ()) -> None:
    """What the grammars of these call syntaxes, by default of any, leave open."""
    found = notes(tools, names or syntaxes.names())
    for note in found[:_SHOWN]:
        print(f"note: {note}")
    if len(found) > _SHOWN:
        print(f"note: ... and {len(found) - _SHOWN} more that grammars leave open")


def _refused(tools: tuple[Tool, ...], names: Sequence[str]) -> list[Finding]:
    from edgetool.calls.tools.grammar_check import check_grammars

    found: dict[tuple[str, str], list[str]] = {}
    for name, compiled in check_grammars(tools, names).items():
        for one in compiled:
            if one.problem is not None:
                found.setdefault((one.tool, one.problem), []).append(name)
    return [
        Finding(f"no grammar{whose(listed, names)} ({problem})", tool, "mend or simplify it")
        for (tool, problem), listed in found.items()
    ]
