"""The entry point: parse, validate, dispatch. A command loads what it needs when it is called."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from edgetool import __version__
from edgetool.commands import checking, data, measuring, shipping, training, using
from edgetool.errors import EdgetoolError, UsageError
from edgetool.extras import extra_of, install_command
from edgetool.files import write_error

app = typer.Typer(
    help="Teach a small language model to call your tools, and ship it as one GGUF file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for a box around the help would double its time
    epilog=(
        "Exit codes: 0 done; 1 the work failed, or what was checked has faults; 2 the command "
        "cannot work as typed; 3 `run` made no call; 130 stopped by Ctrl-C."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(training.app)
app.add_typer(shipping.app)
app.add_typer(measuring.app)
app.add_typer(using.app)
app.add_typer(data.app, name="data")
app.add_typer(checking.tools, name="tools")
app.add_typer(checking.rewards, name="reward")


VERBOSE = "--verbose"  # goes with every command, before it or behind it


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    verbose: Annotated[
        bool, typer.Option(VERBOSE, help="Log details, and show where an error came from.")
    ] = False,
) -> None:
    """Shown for the whole program."""


def main() -> None:
    """Console script: every expected failure becomes one message and an exit code."""
    if verbose := _take_verbose(sys.argv):
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        logging.getLogger("edgetool").setLevel(logging.DEBUG)
    try:
        app()  # typer says what is wrong with options, and ends with 130 after Ctrl-C
    except EdgetoolError as error:
        _end(error, verbose)
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        _end(
            UsageError(f"this command needs {error.name}; type: {install_command(extra)}"), verbose
        )
    except OSError as error:
        told = f"{error.filename or 'the system'}: {error.strerror or error}"
        _end(write_error(error) or EdgetoolError(told), verbose)


def _take_verbose(arguments: list[str]) -> bool:
    """Whether --verbose stands among the arguments, anywhere before a bare --; it is taken out."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    before = [argument for argument in arguments[:end] if argument != VERBOSE]
    found = len(before) < end
    arguments[:end] = before
    return found


def _end(error: EdgetoolError, verbose: bool) -> NoReturn:
    if verbose:
        traceback.print_exc()
    typer.echo(f"edgetool: {error}", err=True)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
