"""A shipped file at work, and the whole way on the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetool.commands.common import ModelArgument, ToolsOption, console, group

app = group()


@app.command()
def run(
    model: ModelArgument,
    question: Annotated[str, typer.Argument(help="What you would say.")],
    tools: ToolsOption = None,
    free: Annotated[bool, typer.Option("--free", help="Without the grammar.")] = False,
) -> None:
    """Ask once and print the call as JSON.

    Exit code 0 when a call was made, 3 when none was.
    """
    from edgetool.verbs.serving import run_ask

    if not run_ask(model, question, tools, constrained=not free):
        raise typer.Exit(3)


@app.command()
def serve(
    model: ModelArgument,
    tools: ToolsOption = None,
    host: Annotated[
        str | None, typer.Option(help="Loopback by default; another one needs --api-key.")
    ] = None,
    port: Annotated[int | None, typer.Option()] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens a prompt and its completion may have.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="EDGETOOL_API_KEY", help="Asked of every request.")
    ] = None,
) -> None:
    """An OpenAI-compatible server for one GGUF file."""
    from edgetool.verbs.hosting import run_serve

    run_serve(model, tools, host=host, port=port, api_key=api_key, context=context)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    max_steps: Annotated[int | None, typer.Option(help="Shorten or lengthen it.")] = None,
    rows: Annotated[int | None, typer.Option(help="Validation rows to evaluate.")] = None,
) -> None:
    """Train, export, evaluate and report on the embedded default."""
    from edgetool.verbs.demo import demo_config, run_demo

    run_demo(demo_config(out, max_steps=max_steps, validation_rows=rows), console())
