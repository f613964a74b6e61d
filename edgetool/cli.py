"""The door: parse, validate, dispatch. Every command loads what it needs only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetool import __version__
from edgetool.errors import EdgetoolError, UsageError
from edgetool.verbs import data

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

app.add_typer(data.app, name="data")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/my.")]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="A GGUF file.")]
ToolsOption = Annotated[
    Path | None, typer.Option("--tools", help="JSON file with a list of tools.")
]
MergeIntoOption = Annotated[
    str | None,
    typer.Option(help="nf4: the weights the adapter was trained on; base: the original ones."),
]


JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
ConfigOption = Annotated[
    Path, typer.Option(metavar="YAML", help="model, data, rewards, output_dir.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override; may be repeated.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]


@app.command()
def init(
    out: Annotated[Path, typer.Argument(metavar="YAML", help="The file to write.")] = Path(
        "my.yaml"
    ),
    model: Annotated[
        str | None, typer.Option(help="A card's name, a folder or a hub id; nano by default.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Rows to train on; demo by default.")] = None,
    vram: Annotated[int, typer.Option(help="GiB of the GPU it is for.")] = 8,
    recipe: Annotated[str | None, typer.Option(help="slm-tool-use: arXiv:2509.04518.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a configuration with comments."""
    from edgetool.verbs.starting import run_init

    run_init(out, _console(), model=model, data=data, vram=vram, recipe=recipe, force=force)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show this one whole.")] = None,
    json_: JsonOption = False,
) -> None:
    """The base models that are known, and what each needs."""
    from edgetool.verbs.cataloguing import run_models

    run_models(name, _console(), as_json=json_)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A card's name, a folder or a hub id.")],
    vram: Annotated[float, typer.Option(help="GiB of the GPU.")] = 8,
    json_: JsonOption = False,
) -> None:
    """What training takes by part, and what fits a GPU."""
    from edgetool.verbs.planning import run_plan

    run_plan(model, vram, _console(), as_json=json_)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Option(help="Try this model's chat template.")] = None,
    json_: JsonOption = False,
) -> None:
    """Look for what is missing here, and how to mend it."""
    from edgetool.verbs.doctor import run_doctor

    if not run_doctor(model, _console(), as_json=json_):
        raise typer.Exit(1)


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what memory it would take, and stop.")
    ] = False,
) -> None:
    """Train an adapter with GRPO on a 4-bit base."""
    from edgetool.config import load_config

    resolved = load_config(config, set_ or [])
    from edgetool.verbs.training import run_dry, run_training

    if dry_run:
        run_dry(resolved, _console())
        return
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
        list[str] | None,
        typer.Option(help="F16, Q8_0, Q4_K_M, ...; may be repeated. Q4_K_M by default."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; the run's own by default.")] = None,
    merge_into: Annotated[
        str | None,
        typer.Option(help="nf4 | base, see merge; auto: the better one on the held-out rows."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Held-out rows to measure on; the configuration's by default."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Only the first so many (200); 0 measures nothing.")
    ] = None,
    imatrix: Annotated[
        str | None,
        typer.Option(metavar="ROWS", help="Rows for an importance matrix."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Points of exact match a file may lose, or exit 1.")
    ] = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="LoRA as GGUF, for a base GGUF you have.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(metavar="BASE.gguf", help="Try --adapter-only out with it.")
    ] = None,
    ollama: Annotated[bool, typer.Option("--ollama", help="Write a Modelfile, too.")] = False,
    lmstudio: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="LM Studio's models folder.")
    ] = None,
    publisher: Annotated[
        str | None, typer.Option(help="Whose models they are, for --lmstudio.")
    ] = None,
) -> None:
    """Adapter + base -> GGUF files with a receipt."""
    from edgetool.verbs.exporting import ExportOptions, run_export

    options = ExportOptions(
        quants=quant or (), out=out, merge_into=merge_into, data=data, rows=rows,
        imatrix=imatrix, max_drop=max_drop, adapter_only=adapter_only, beside=beside,
        ollama=ollama, lm_studio=lmstudio, **({"publisher": publisher} if publisher else {}),
    )  # fmt: skip
    run_export(run, options, _console())


@app.command("eval")
def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run, a model folder, a GGUF file, or http://.../v1.")
    ],
    data: Annotated[
        str | None, typer.Option(help="demo, rows.jsonl or BFCL_v4_<category>.json.")
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="bfcl:simple_python,multiple; may be repeated.")
    ] = None,
    suite_root: Annotated[
        Path | None, typer.Option(envvar="EDGETOOL_SUITES", help="Where the suites' files are.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="free, constrained, names_only, gbnf; may be repeated."),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Evaluate the base model too.")] = False,
    rows: Annotated[int | None, typer.Option(help="Only the first so many rows.")] = None,
    max_completion_length: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option()] = 0,
    samples: Annotated[int, typer.Option(help="Completions a row, for pass@k.")] = 1,
    model: Annotated[str | None, typer.Option(help="An endpoint's name for its model.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget kept completions.")] = False,
) -> None:
    """Score a model on rows whose calls are known, free and constrained."""
    from dataclasses import replace

    from edgetool.calls.runtime import Sampling
    from edgetool.verbs.evaluating import load, run_eval

    sampling = Sampling(temperature=temperature, seed=seed)
    if max_completion_length is not None:
        sampling = replace(sampling, max_completion_length=max_completion_length)
    run_eval(
        target,
        load(data, suite or [], suite_root, rows),
        arm or ["free", "constrained"],
        _console(),
        base=base,
        sampling=sampling,
        samples=samples,
        model=model,
        out=out,
        fresh=fresh,
        asked={"data": data, "suites": suite or []},
    )


@app.command()
def compare(
    targets: Annotated[list[str], typer.Argument(help="What was evaluated, the baseline first.")],
    out: Annotated[Path | None, typer.Option(help="Folder for a report of them all.")] = None,
) -> None:
    """Put finished evaluations side by side."""
    from edgetool.verbs.evaluating import run_compare

    run_compare(targets, _console(), out)


@app.command()
def report(
    target: Annotated[str, typer.Argument(help="What was evaluated: a run, a GGUF file, ...")],
    out: Annotated[Path | None, typer.Option(help="Folder; where it was by default.")] = None,
) -> None:
    """Write a finished evaluation's report again."""
    from edgetool.verbs.evaluating import run_report

    run_report(target, _console(), out)


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


bench = typer.Typer(no_args_is_help=True, help="Measure this machine.", rich_markup_mode=None)
app.add_typer(bench, name="bench")


@bench.callback()
def bench_options() -> None:
    """Measure this machine."""


@bench.command("device")
def bench_device(
    model: ModelArgument,
    rows: Annotated[int, typer.Option(help="Demo rows to answer.")] = 20,
    max_completion_length: Annotated[int, typer.Option(help="Tokens.")] = 96,
    json_: JsonOption = False,
) -> None:
    """Tokens per second, time to first token and memory of a GGUF file, free and constrained."""
    from edgetool.verbs.bench_device import run_bench_device

    run_bench_device(
        model, _console(), rows=rows, max_completion_length=max_completion_length, as_json=json_
    )


@app.command()
def push(
    run: RunArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hugging Face repository.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it.")] = False,
) -> None:
    """Exported files to the Hugging Face hub, private unless asked."""
    from edgetool.verbs.pushing import run_push

    run_push(run, repo, _console(), public=public)


@app.command()
def inspect(
    model: ModelArgument,
    json_: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="Every tensor, too.")] = False,
) -> None:
    """What a GGUF file holds, and whether its template shows tools."""
    from edgetool.verbs.inspecting import run_inspect

    run_inspect(model, _console(), as_json=json_, tensors=tensors)


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


reward_app = typer.Typer(help="Reward functions: list them, try them.", no_args_is_help=True)
app.add_typer(reward_app, name="reward")


@reward_app.command("list")
def reward_list() -> None:
    """Every reward that a configuration can name."""
    from edgetool.verbs.rewarding import list_rewards

    list_rewards(_console())


@reward_app.command("try")
def reward_try(
    completion: Annotated[str, typer.Option(help="What a model might write; - reads stdin.")],
    data: Annotated[
        str | None, typer.Option(help="demo, rows.jsonl, ...; the configuration's by default.")
    ] = None,
    row: Annotated[str | None, typer.Option(metavar="ID", help="The first row by default.")] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="YAML", help="Its rewards.")] = None,
    call_syntax: Annotated[str | None, typer.Option(help="hermes, json, ...")] = None,
) -> None:
    """Score a completion for one row: every component, and what the judge says.

    Exit code 1 when a reward function failed.
    """
    from edgetool.verbs.rewarding import try_rewards

    if completion == "-":
        completion = sys.stdin.buffer.read().decode(errors="replace")
    scored = try_rewards(
        data,
        completion,
        _console(),
        row=row,
        names=reward or (),
        config=config,
        call_syntax=call_syntax,
    )
    if scored.fault:
        raise typer.Exit(1)


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
