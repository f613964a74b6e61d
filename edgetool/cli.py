"""The entry point: it finds the command that was typed, and turns its errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edgetool import __version__
from edgetool.errors import EdgetoolError, UsageError
from edgetool.extras import extra_of, install_command
from edgetool.files import write_error

# Modules of edgetool.commands, in the order of the help.
COMMANDS = (
    "init", "models", "plan", "doctor", "config", "sft", "train",
    "merge", "export", "inspect", "push",
    "eval", "compare", "report", "bench",
    "run", "serve", "demo", "data", "tools", "reward",
)  # fmt: skip
_FOLDER = Path(__file__).with_name("commands")


class LazyCommands(TyperGroup):
    """Commands whose modules are imported when they are called, not when they are listed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: dict[str, Any] = {**dict.fromkeys(COMMANDS), **self.commands}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and self.commands[cmd_name] is None:
            self.commands[cmd_name] = get_command(
                import_module(f"edgetool.commands.{cmd_name}").app
            )
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [
            (name, summary(name) if command is None else command.get_short_help_str())
            for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def summary(command: str) -> str:
    """What a command does: the first line of its module, which is not imported for it."""
    with (_FOLDER / f"{command}.py").open(encoding="utf-8") as source:
        return source.readline().strip().strip('"')


app = typer.Typer(
    cls=LazyCommands,
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
        message = f"{error.filename or 'the system'}: {error.strerror or error}"
        _end(write_error(error) or EdgetoolError(message), verbose)
    finally:
        _flush()


def _flush() -> None:
    """Write out what is still to be read, or nothing where the reader is gone, as `head` may be:
    Python would speak of it when it ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
