"""What commands share: arguments that mean the same everywhere, and where output goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgetool.export.receipt import ExportedFile

LOG_WIDTH = 132

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/my.")]
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A GGUF file, a folder with one (a run's), or nano."),
]
ToolsOrFunctionsOption = Annotated[
    Path | None,
    typer.Option("--tools", help="JSON file with a list of tools, or a Python file of functions."),
]
MergeIntoOption = Annotated[
    str | None,
    typer.Option(help="nf4: the weights the adapter was trained on; base: the original ones."),
]


TemplateOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Chat template: own; chatml, gemma, ...; or a file. Own if it shows tools, else ours.",
    ),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(
        metavar="ADAPTER.gguf", help="A LoRA adapter's GGUF file, beside its base's GGUF file."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ThinkingOption = Annotated[
    bool, typer.Option("--thinking", help="Let the model think before it answers.")
]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="YAML", help="model, data, rewards, output_dir.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override one key; may be repeated."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]


def with_template(overrides: list[str] | None, template: str | None) -> list[str]:
    """`--template X` is short for `--set template=X`."""
    return [*(overrides or []), *([f"template={template}"] if template else [])]


def group(about: str | None = None) -> typer.Typer:
    """A typer app of one command, or of several below one name whose help is `about`."""
    # Importing rich for a box around the help would double its time.
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if about is not None:
        # A callback makes it a group, also where it has one command only.
        app.callback(help=about, no_args_is_help=True)(lambda: None)
    return app


def console() -> Console:
    from rich.console import Console

    # In a log file there is no width to fit; rich would assume 80 columns and break the tables.
    log = not sys.stdout.isatty()
    return Console(soft_wrap=log, width=LOG_WIDTH if log else None)


@contextmanager
def loading(shown: Console | None = None, *, quiet: bool = False) -> Iterator[None]:
    """Around imports that take seconds: on a slow disk somebody wonders. quiet: print is JSON."""
    from edgetool.activity import busy, silently
    from edgetool.train.run_lock import is_first_rank

    quiet = quiet or not is_first_rank()
    with silently("") if quiet else busy(shown or console(), "loading libraries"):
        yield


def prepare(folder: Path, console: Console, *names: str) -> None:
    """Try out whether a folder can be written, and sweep what a killed process left there.

    Raises EdgetoolError and UsageError as `files.writing` does.
    """
    from edgetool.files import require_writable, sweep

    require_writable(folder)
    if swept := sweep(folder, *names):
        console.print(f"{folder}: removed what a killed process left of {', '.join(swept)}")


def say_file(file: ExportedFile, console: Console) -> None:
    """The line about a file that was written."""
    console.print(f"{file.path}  {file.size / 2**20:.1f} MB  sha256 {file.sha256[:12]}…")
