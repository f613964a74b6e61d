"""The door: parse, validate, dispatch. Every command loads what it needs only when it is called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgetool import __version__
from edgetool.commands import checking, data, measuring, shipping, training, using
from edgetool.errors import EdgetoolError, UsageError

app = typer.Typer(
    help="Teach a small language model to call your tools, and ship it as one GGUF file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for a box around the help would double its time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(training.app)
app.add_typer(shipping.app)
app.add_typer(measuring.app)
app.add_typer(using.app)
app.add_typer(data.app, name="data")
app.add_typer(checking.tools, name="tools")
app.add_typer(checking.rewards, name="reward")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Shown for the whole program."""


# What an optional extra brings, by the module whose absence shows that it is not installed.
_EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "bitsandbytes": "train",
    "gguf": "export",
    "huggingface_hub": "export",
    "tokenizers": "export",
    "safetensors": "train",
    "llama_cpp": "device",
    "outlines": "device",
    "llguidance": "device",
    "starlette": "device",
    "datasets": "data",
    "httpx": "data",
    "pyarrow": "data",
    "prometheus_client": "device",
    "psutil": "device",
    "uvicorn": "device",
    "numpy": "device",
    "openai": "endpoint",
}


def main() -> None:
    """Console script: errors of ours become one message and an exit code, not a traceback."""
    try:
        app()
    except EdgetoolError as error:
        typer.echo(f"edgetool: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        hint = UsageError(
            f"this command needs {error.name}; install it with: pip install 'edgetool[{extra}]'"
        )
        typer.echo(f"edgetool: {hint}", err=True)
        sys.exit(hint.exit_code)


if __name__ == "__main__":
    main()
