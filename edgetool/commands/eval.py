"""Score a model on rows whose calls are known, free and constrained."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgetool.calls.types import Example
from edgetool.commands.about import about
from edgetool.commands.chat_template import say_template
from edgetool.commands.common import AdapterOption, TemplateOption, ThinkingOption, console, group
from edgetool.commands.targets import Held, hashes, open_runtimes
from edgetool.data import sources
from edgetool.errors import DataError, UsageError
from edgetool.eval import suites
from edgetool.eval.cache import CompletionCache
from edgetool.eval.evaluate import ArmResult, RowResult, evaluate
from edgetool.eval.metrics import summarize
from edgetool.eval.report.report import write_report
from edgetool.eval.report.summary import plural
from edgetool.eval.report.tables import rich_table
from edgetool.eval.results import results_folder
from edgetool.files import require_writable, writing
from edgetool.run_folder import RunFolder
from edgetool.runtime import Runtime, Sampling
from edgetool.system import tune

CACHE_FILE = "completions.jsonl"

app = group()


@app.command(help=__doc__)
def eval_(
    target: Annotated[
        str, typer.Argument(help="A run, a model folder, a GGUF file, or http://.../v1.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Rows: demo, rows.jsonl or BFCL_v4_<category>.json; a run's own rows by default."
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="A suite, such as bfcl:simple_python,multiple; may be repeated."),
    ] = None,
    suite_root: Annotated[
        Path | None, typer.Option(envvar="EDGETOOL_SUITES", help="Where the suites' files are.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Decoding: free, constrained, names_only, gbnf; may be repeated."),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Evaluate the base model too.")] = False,
    rows: Annotated[int | None, typer.Option(help="At most this many rows.")] = None,
    max_completion_length: Annotated[
        int | None, typer.Option(help="Most tokens of a completion.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    samples: Annotated[int, typer.Option(help="Completions a row, for pass@k.")] = 1,
    model: Annotated[str | None, typer.Option(help="An endpoint's name for its model.")] = None,
    thinking: ThinkingOption = False,
    adapter: AdapterOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    template: TemplateOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Write every completion anew.")] = False,
) -> None:
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
        adapter=adapter,
        asked={"data": data, "suites": suite or [], **({"thinking": True} if thinking else {})},
    )


@dataclass(frozen=True)
class Rows:
    """What to evaluate: rows by category ("" for one's own) and those that cannot be scored."""

    by_category: dict[str, tuple[Example, ...]] = field(default_factory=dict)
    skipped: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def all(self) -> list[Example]:
        return [example for rows in self.by_category.values() for example in rows]


def load_for(
    target: str,
    data: str | None,
    chosen: Sequence[str],
    root: Path | None,
    count: int | None,
    console: Console,
) -> tuple[Rows, str | None]:
    """What `load` gives, and the source of the rows of one's own.

    Where neither is named, a target in a run folder is measured on that run's validation rows.
    """
    run = None if data or chosen else RunFolder.around(Path(target))
    if run is None:
        return load(data, chosen, root, count), data
    source, limit = run.validation()
    if source is None:
        raise UsageError(
            f"{run.path} was trained on {run.config.data.train} and names no validation rows; "
            "give some that it was not trained on with --data rows.jsonl"
        )
    rows = load(source, (), root, count or limit)
    console.print(
        f"no --data: {plural(len(rows.all), 'validation row')} of {run.path} ({source})",
        markup=False,
    )
    return rows, source


def load(
    data: str | None, chosen: Sequence[str], root: Path | None, count: int | None = None
) -> Rows:
    """Rows of --data and of every --suite, at most `count` of each category."""
    if not data and not chosen:
        raise UsageError(
            f"say what to evaluate: --data rows.jsonl, or --suite with one of: "
            f"{', '.join(suites.names())}"
        )
    rows = Rows()
    if data:
        rows.by_category[""] = tuple(sources.load(data, "validation", count))
    for spec in chosen:
        for category, loaded in suites.load(spec, root).items():
            if not loaded.examples:
                raise DataError([f"{category}: no row can be scored", *loaded.skipped])
            rows.by_category[category] = loaded.examples[:count]
            rows.skipped[category] = loaded.skipped
    return rows


def run_eval(
    target: str,
    rows: Rows,
    arms: Sequence[str],
    console: Console,
    *,
    base: bool,
    sampling: Sampling,
    samples: int = 1,
    model: str | None = None,
    thinking: bool | None = None,
    out: Path | None = None,
    fresh: bool = False,
    template: str | None = None,
    adapter: Path | None = None,
    asked: Mapping[str, Any] | None = None,
) -> Path:
    """Evaluate, print a table and write the report; returns report.json.

    template   as `template_choice.choose` is asked for one

    An evaluation that was interrupted goes on where it was, row by row; `fresh` begins anew.
    """
    tune()
    started = time.perf_counter()
    folder = out or results_folder(target)
    require_writable(folder)
    for category, reasons in rows.skipped.items():
        _say_skipped(category, reasons, console)
    if fresh:
        (folder / CACHE_FILE).unlink(missing_ok=True)
    config = {"target": target, **(asked or {}), "samples": samples, **asdict(sampling)}
    opened = open_runtimes(
        target, base=base, model=model, template=template, thinking=thinking, adapter=adapter
    )
    with writing(folder), CompletionCache(folder / CACHE_FILE) as cache:
        finished = _all_arms(opened, rows, arms, sampling, samples, cache, config, console)
    console.print(rich_table([summarize(arm) for arm in finished]))
    path = write_report(
        folder,
        arms=finished,
        job_seconds=time.perf_counter() - started,
        metrics=run.metrics() if (run := RunFolder.around(Path(target))) else [],
        config=config,
        fidelity={},
        examples=rows.all,
        skipped=rows.skipped,
        hashes=hashes(target, adapter),
        about=about(target, config.get("data"), config.get("suites", ()), model),
    )
    console.print(f"report: {path.with_suffix('.html')}")
    return path


def _all_arms(
    opened: Iterable[Held],
    rows: Rows,
    arms: Sequence[str],
    sampling: Sampling,
    samples: int,
    cache: CompletionCache,
    config: dict[str, Any],
    console: Console,
) -> list[ArmResult]:
    """Every runtime on every category. A template that took another's place goes into `config`."""
    finished: list[ArmResult] = []
    try:
        for held in opened:
            used = held.template
            if used is not None and used.note and "chat_template" not in config:
                say_template(used, console)
                config["chat_template"] = used.name
            for category, examples in rows.by_category.items():
                finished += run_arms(
                    held.runtime, examples, held.model, arms, sampling, console,
                    samples=samples, category=category, cache=cache,
                )  # fmt: skip
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on with the rows that are left")
        raise
    return finished


def run_arms(
    runtime: Runtime,
    examples: Sequence[Example],
    model: str,
    arms: Sequence[str],
    sampling: Sampling,
    console: Console,
    *,
    samples: int = 1,
    category: str = "",
    cache: CompletionCache | None = None,
) -> list[ArmResult]:
    """Every arm of one runtime on one category, with progress."""
    finished = []
    for arm in arms:
        label = " · ".join(part for part in (model, runtime.name, arm, category) if part)
        with _progress(label, samples * len(examples), console) as on_row:
            done = evaluate(
                runtime,
                examples,
                model=model,
                arm=arm,
                sampling=sampling,
                samples=samples,
                category=category,
                cache=cache,
                on_row=on_row,
            )
        console.print(f"{label}: {_summary(done)}")
        finished.append(done)
    return finished


def _summary(done: ArmResult) -> str:
    exact = sum(row.verdict.exact for row in done.results)
    free = sum(row.unconstrained is not None for row in done.results)
    broken = sum(row.error is not None for row in done.results)
    notes = [f"{exact} of {len(done.results)} rows exact"]
    if free:
        notes.append(f"{free} not constrained (their schemas cannot be held by this grammar)")
    if broken:
        notes.append(f"{broken} failed in the engine")
    return ", ".join(notes)


def _say_skipped(category: str, reasons: Sequence[str], console: Console) -> None:
    if reasons:
        console.print(f"{category}: {len(reasons)} rows cannot be scored and are left out:")
        for reason in reasons[: DataError.SHOWN]:
            console.print(f"  {reason}", markup=False)
        if len(reasons) > DataError.SHOWN:
            console.print(f"  ... and {len(reasons) - DataError.SHOWN} more, in report.json")


@contextmanager
def _progress(label: str, total: int, console: Console) -> Iterator[Any]:
    """A bar with what is left; gives the function to call after each row."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[exact]} exact"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task, exact = bar.add_task(label, total=total, exact=0), 0

        def on_row(row: RowResult) -> None:
            nonlocal exact
            exact += row.verdict.exact
            bar.update(task, advance=1, exact=exact)

        yield on_row
