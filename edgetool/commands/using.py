"""A shipped file at work, and the whole way on the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetool.commands.common import (
    JsonOption,
    ModelArgument,
    TemplateOption,
    ThinkingOption,
    console,
    group,
)

ToolsOrFunctions = Annotated[
    Path | None,
    typer.Option("--tools", help="JSON file with a list of tools, or a Python file of functions."),
]

app = group()


@app.command()
def run(
    model: ModelArgument,
    question: Annotated[
        str | None, typer.Argument(help="What you would say; without it, a chat.")
    ] = None,
    tools: ToolsOrFunctions = None,
    exec_: Annotated[
        Path | None,
        typer.Option("--exec", metavar="PY", help="Run calls with this file's functions."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run every call without asking.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of calls --exec runs for a question.")
    ] = None,
    as_json: JsonOption = False,
    free: Annotated[bool, typer.Option("--free", help="Without the grammar.")] = False,
    system: Annotated[str | None, typer.Option(help="What comes before the question.")] = None,
    thinking: ThinkingOption = False,
    max_completion_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of an answer.")
    ] = None,
    template: TemplateOption = None,
) -> None:
    """Ask, and print the call as JSON; --exec runs it and asks on.

    Exit code 0 when a call was made, 3 when none was.
    """
    from edgetool.commands.targets import gguf_of
    from edgetool.verbs.asking import Asking, run_ask

    asking = Asking(
        question=question,
        tools=tools,
        exec=exec_,
        yes=yes,
        json=as_json,
        constrained=not free,
        rounds=rounds,
        system=system,
        thinking=thinking or None,
        max_completion_length=max_completion_length,
        template=template,
    )
    if not run_ask(gguf_of(model), asking):
        raise typer.Exit(3)


@app.command()
def serve(
    model: ModelArgument,
    tools: ToolsOrFunctions = None,
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
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="llama.cpp|llama-server",
            help="llama-server is the program of that name on PATH, or $EDGETOOL_LLAMA_SERVER.",
        ),
    ] = None,
    template: TemplateOption = None,
    offer_tools: Annotated[
        bool, typer.Option("--offer-tools", help="Requests that bring no tools get --tools.")
    ] = False,
    thinking: ThinkingOption = False,
) -> None:
    """An OpenAI-compatible server for one GGUF file.

    With --engine llama-server the calls are held by llama.cpp's own grammar: schemas it cannot
    hold are refused, an answer may be cut at max_tokens, no token is written without asking the
    model or guessed from your words, and the tools' prompt is not kept on disk.

    An engine that ends or hangs is replaced: meanwhile /health and all requests answer 503 and
    say when to ask again. One that cannot be started any more ends the server with exit code 1,
    so that systemd or docker may start it anew.
    """
    from edgetool.commands.targets import gguf_of
    from edgetool.verbs.hosting import run_serve

    run_serve(
        gguf_of(model),
        tools,
        host=host,
        port=port,
        api_key=api_key,
        context=context,
        thinking=thinking or None,
        engine=engine,
        offer_tools=offer_tools,
        template=template,
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    max_steps: Annotated[int | None, typer.Option(help="Shorten or lengthen it.")] = None,
    rows: Annotated[int | None, typer.Option(help="Validation rows to evaluate.")] = None,
) -> None:
    """Train, export, evaluate and report on the embedded default."""
    from edgetool.verbs.demo import demo_config, run_demo

    run_demo(demo_config(out, max_steps=max_steps, validation_rows=rows), console())
