"""The door: parse, validate, dispatch. Every command loads what it needs only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetool import __version__
from edgetool.errors import EdgetoolError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 132

app = typer.Typer(
    help="Teach a small language model to call your tools, and ship it as one GGUF file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for a box around the help would double its time
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/my.")]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="A GGUF file.")]
ToolsOption = Annotated[
    Path | None, typer.Option("--tools", help="JSON file with a list of tools.")
]
MergeIntoOption = Annotated[
    str | None,
    typer.Option(help="nf4: the weights the adapter was trained on; base: the original ones."),
]


ConfigOption = Annotated[
    Path, typer.Option(metavar="YAML", help="model, data, rewards, output_dir.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override; may be repeated.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]


@app.command()
def sft(
    config: ConfigOption,
    set_: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Warm start: train an adapter on the rows' own calls."""
    from edgetool.config import load_config

    resolved = load_config(config, set_ or [])
    from edgetool.verbs.training import run_sft

    if run_sft(resolved, _console(), resume=resume).interrupted:
        raise typer.Exit(130)


@app.command()
def train(
    config: ConfigOption,
    set_: SetOption = None,
    resume: ResumeOption = False,
    init_adapter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Start from this run's adapter, or this adapter."),
    ] = None,
) -> None:
    """Train an adapter with GRPO on a 4-bit base."""
    from edgetool.config import load_config

    resolved = load_config(config, set_ or [])
    from edgetool.verbs.training import run_training

    done = run_training(resolved, _console(), resume=resume, init_adapter=init_adapter)
    if done.interrupted:
        raise typer.Exit(130)


@app.command()
def merge(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/merged by default.")] = None,
    merge_into: MergeIntoOption = None,
) -> None:
    """Adapter + base -> an ordinary transformers folder."""
    from edgetool.verbs.exporting import run_merge

    run_merge(run, out, merge_into, _console())


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a model.")],
    gguf: Annotated[bool, typer.Option("--gguf", help="Write GGUF (the only format).")] = True,
    quant: Annotated[
        list[str] | None, typer.Option(help="F16, Q8_0, Q4_K_M, ...; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; the run's own by default.")] = None,
    merge_into: MergeIntoOption = None,
) -> None:
    """Adapter + base -> GGUF files with a receipt."""
    from edgetool.verbs.exporting import run_export

    run_export(run, quant, out, merge_into, _console())


@app.command("eval")
def evaluate(
    target: Annotated[Path, typer.Argument(help="A run folder or a GGUF file.")],
    data: Annotated[str, typer.Option(help="demo, rows.jsonl or BFCL_v4_<category>.json.")],
    arm: Annotated[
        list[str] | None, typer.Option(help="free, constrained; may be repeated.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Evaluate the base model too.")] = False,
    rows: Annotated[int | None, typer.Option(help="Only the first so many rows.")] = None,
    max_completion_length: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
) -> None:
    """Score a model on rows whose calls are known, free and constrained."""
    from edgetool.calls.runtime import Sampling
    from edgetool.verbs.evaluating import run_eval

    sampling = Sampling(temperature=temperature, seed=seed)
    if max_completion_length is not None:
        sampling = Sampling(max_completion_length, temperature, seed=seed)
    arms = arm or ["free", "constrained"]
    run_eval(target, data, arms, _console(), base=base, rows=rows, sampling=sampling, out=out)


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
    api_key: Annotated[
        str | None, typer.Option(envvar="EDGETOOL_API_KEY", help="Asked of every request.")
    ] = None,
) -> None:
    """An OpenAI-compatible server for one GGUF file."""
    from edgetool.verbs.serving import run_serve

    run_serve(model, tools, host=host, port=port, api_key=api_key)


tools_app = typer.Typer(
    help="Look after a list of tools.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(tools_app, name="tools")


@tools_app.command("lint")
def lint_tools(
    path: Annotated[Path, typer.Argument(metavar="TOOLS.json", help="A list of tools.")],
    syntax: Annotated[
        str | None, typer.Option(help="Compile the grammars of this call syntax too.")
    ] = None,
) -> None:
    """Name what small models or grammars will stumble over.

    Exit code 0 when nothing was found, 1 otherwise.
    """
    from edgetool.verbs.tools import run_lint

    if not run_lint(path, syntax):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    max_steps: Annotated[int | None, typer.Option(help="Shorten or lengthen it.")] = None,
    rows: Annotated[int | None, typer.Option(help="Validation rows to evaluate.")] = None,
) -> None:
    """Train, export, evaluate and report on the embedded default."""
    from edgetool.verbs.demo import demo_config, run_demo

    run_demo(demo_config(out, max_steps=max_steps, validation_rows=rows), _console())


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Shown for the whole program."""


def _console() -> Console:
    from rich.console import Console

    # In a log file there is no width to fit; rich would assume 80 columns and break the tables.
    log = not sys.stdout.isatty()
    return Console(soft_wrap=log, width=LOG_WIDTH if log else None)


# What an optional extra brings, by the module whose absence shows that it is not installed.
_EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "bitsandbytes": "train",
    "gguf": "export",
    "safetensors": "train",
    "llama_cpp": "device",
    "outlines": "device",
    "llguidance": "device",
    "starlette": "device",
    "uvicorn": "device",
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
