"""How good it is, and how fast: eval, compare, report, bench."""

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

app = group()


@app.command("eval")
def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run, a model folder, a GGUF file, or http://.../v1.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="demo, rows.jsonl or BFCL_v4_<category>.json; a run's own rows by default."
        ),
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
    thinking: ThinkingOption = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    template: TemplateOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget kept completions.")] = False,
) -> None:
    """Score a model on rows whose calls are known, free and constrained."""
    from dataclasses import replace

    from edgetool.runtime import Sampling
    from edgetool.verbs.evaluating import load_for, run_eval

    sampling = Sampling(temperature=temperature, seed=seed)
    if max_completion_length is not None:
        sampling = replace(sampling, max_completion_length=max_completion_length)
    shown = console()
    loaded, data = load_for(target, data, suite or [], suite_root, rows, shown)
    run_eval(
        target,
        loaded,
        arm or ["free", "constrained"],
        shown,
        base=base,
        sampling=sampling,
        samples=samples,
        model=model,
        thinking=thinking or None,
        out=out,
        fresh=fresh,
        template=template,
        asked={"data": data, "suites": suite or [], **({"thinking": True} if thinking else {})},
    )


@app.command()
def compare(
    targets: Annotated[list[str], typer.Argument(help="What was evaluated, the baseline first.")],
    out: Annotated[Path | None, typer.Option(help="Folder for a report of them all.")] = None,
) -> None:
    """Put finished evaluations side by side."""
    from edgetool.verbs.evaluating import run_compare

    run_compare(targets, console(), out)


@app.command()
def report(
    target: Annotated[str, typer.Argument(help="What was evaluated: a run, a GGUF file, ...")],
    out: Annotated[Path | None, typer.Option(help="Folder; where it was by default.")] = None,
) -> None:
    """Write a finished evaluation's report again."""
    from edgetool.verbs.evaluating import run_report

    run_report(target, console(), out)


bench = group("Measure this machine.")
app.add_typer(bench, name="bench")


@bench.callback()
def bench_options() -> None:
    """Measure this machine."""


@bench.command("device")
def bench_device(
    model: ModelArgument,
    rows: Annotated[int, typer.Option(help="Demo rows to answer.")] = 20,
    max_completion_length: Annotated[int, typer.Option(help="Tokens.")] = 96,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    """Tokens per second, time to first token and memory of a GGUF file, free and constrained."""
    from edgetool.commands.targets import gguf_of
    from edgetool.verbs.bench_device import run_bench_device

    run_bench_device(
        gguf_of(model),
        console(),
        rows=rows,
        max_completion_length=max_completion_length,
        template=template,
        as_json=json_,
    )
