"""What a GGUF file holds, and whether its template shows tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgetool.calls.prompt.template_choice import way_out
from edgetool.commands.common import JsonOption, ModelArgument, console, group
from edgetool.commands.targets import gguf_of
from edgetool.export.inspect import Inspection, inspect_gguf
from edgetool.terminal import printable

app = group()


@app.command(help=__doc__)
def inspect(
    model: ModelArgument,
    json_: JsonOption = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor, too.")] = False,
) -> None:
    run_inspect(gguf_of(model), console(), as_json=json_, tensors=tensors)


def run_inspect(path: Path, console: Console, *, as_json: bool, tensors: bool) -> None:
    """Print metadata, tensors by type, template and tokenizer; as JSON for other programs."""
    found = inspect_gguf(path)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    console.print(Text(f"{path}  {found.size / 1e6:,.1f} MB  {found.parameters:,} parameters"))
    console.print(_metadata(found))
    console.print(_types(found))
    if tensors:
        console.print(_tensors(found))
    if found.template:
        console.print(Text(printable(found.template)), style="dim")
    console.print(Text(_tools(found)))


def _metadata(found: Inspection) -> Table:
    table = Table("key", "value", title="Metadata", title_justify="left")
    for key, value in found.metadata.items():
        table.add_row(Text(printable(key)), Text(printable(str(value))))
    return table


def _types(found: Inspection) -> Table:
    table = Table("type", "tensors", "MB", title="Tensors", title_justify="left")
    for kind, entry in found.types.items():
        table.add_row(kind, str(entry["tensors"]), f"{entry['bytes'] / 1e6:,.2f}")
    return table


def _tensors(found: Inspection) -> Table:
    table = Table("name", "type", "shape", "MB", title="Every tensor", title_justify="left")
    for tensor in found.tensors:
        shape = " x ".join(map(str, tensor.shape))
        name = Text(printable(tensor.name))
        table.add_row(name, tensor.type, shape, f"{tensor.size / 1e6:,.3f}")
    return table


def _tools(found: Inspection) -> str:
    if found.tools.renders:
        return f"tools render; call syntax: {printable(str(found.tools.call_syntax))}"
    problem = f"tools do not render: {printable(str(found.tools.why))}"
    if found.tools.replacement:
        return (
            f"{problem}; run, serve and eval use edgetool's own {found.tools.replacement} template"
        )
    return f"{problem}; {way_out()}"
