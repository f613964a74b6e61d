"""`edgetool eval`, `compare` and `report`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from edgetool.data import sources
from edgetool.errors import DataError, UsageError
from edgetool.eval import suites
from edgetool.eval.cache import CompletionCache
from edgetool.eval.compare import compare_facts, comparison_tables, one_runtime
from edgetool.eval.evaluate import ArmResult, RowResult, evaluate
from edgetool.eval.metrics import summarize
from edgetool.eval.report.report import MEASURED, write_report
from edgetool.eval.report.summary import plural
from edgetool.eval.report.tables import rich_table
from edgetool.eval.results import (
    Finished,
    all_finished,
    called,
    distinct,
    open_finished,
    relabelled,
    results_folder,
)
from edgetool.files import require_writable, write_text, writing
from edgetool.run_folder import RunFolder
from edgetool.runtime import Runtime, Sampling
from edgetool.system import tune
from edgetool.verbs.about import about, together
from edgetool.verbs.prompting import say_template
from edgetool.verbs.runtimes import Held, hashes, open_runtimes

KEPT_FILE = "completions.jsonl"


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
    asked: Mapping[str, Any] | None = None,
) -> Path:
    """Evaluate, print a table and write the report; returns report.json.

    template   as `template_choice.choose` is asked for one

    An evaluation that was interrupted goes on where it was, row by row; `fresh` begins anew.
    """
    tune()
    asked = asked or {}
    started = time.perf_counter()
    folder = out or results_folder(target)
    require_writable(folder)
    for category, reasons in rows.skipped.items():
        _tell_skipped(category, reasons, console)
    if fresh:
        (folder / KEPT_FILE).unlink(missing_ok=True)
    templates: dict[str, str] = {}
    with writing(folder), CompletionCache(folder / KEPT_FILE) as cache, _told_how_to_go_on(console):
        finished = [
            arm
            for held in _saying_templates(
                open_runtimes(
                    target, base=base, model=model, template=template, thinking=thinking
                ),
                templates,
                console,
            )
            for category, examples in rows.by_category.items()
            for arm in run_arms(
                held.runtime, examples, held.model, arms, sampling, console,
                samples=samples, category=category, cache=cache,
            )
        ]  # fmt: skip
    console.print(rich_table([summarize(arm) for arm in finished]))
    path = write_report(
        folder,
        arms=finished,
        job_seconds=time.perf_counter() - started,
        metrics=run.metrics() if (run := RunFolder.around(Path(target))) else [],
        config={
            "target": target,
            **asked,
            **templates,
            "samples": samples,
            **asdict(sampling),
        },
        fidelity={},
        examples=rows.all,
        skipped=rows.skipped,
        hashes=hashes(target),
        about=about(target, asked.get("data"), asked.get("suites", ()), model),
    )
    console.print(f"report: {path.with_suffix('.html')}")
    return path


def _saying_templates(
    runtimes: Iterable[Held], templates: dict[str, str], console: Console
) -> Iterator[Held]:
    """The runtimes; what took the place of a model's own template is said once, and kept in
    `templates` for the report."""
    for held in runtimes:
        used = held.template
        if used is not None and used.note and "chat_template" not in templates:
            say_template(used, console)
            templates["chat_template"] = used.name
        yield held


@contextmanager
def _told_how_to_go_on(console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on with the rows that are left")
        raise


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
        console.print(f"{label}: {_told(done)}")
        finished.append(done)
    return finished


def run_compare(targets: Sequence[str], console: Console, out: Path | None) -> None:
    """Any number of finished evaluations side by side; with `out`, a report of them all."""
    if out is not None:
        require_writable(out)
    evaluations = distinct([found for target in targets for found in _opened(target, console)])
    if len(evaluations) < 2:
        raise UsageError("compare needs at least two finished evaluations")
    arms, names = relabelled(evaluations), called(evaluations)
    facts = compare_facts(arms, names)
    for table in comparison_tables(facts):
        console.print(table)
    if out is not None:
        path = _write(out, evaluations, one_runtime(arms), names)
        write_text(out / "compare.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        console.print(f"report: {path.with_suffix('.html')}")


def _opened(target: str, console: Console) -> list[Finished]:
    """The finished evaluations of a target; where one was put with --out, that is said."""
    found = all_finished(target)
    for each in found:
        _tell_where(target, each, console)
    return found


def _tell_where(target: str, found: Finished, console: Console) -> None:
    if found.folder not in (results_folder(target), Path(target)):
        console.print(f"{target}: evaluated in {found.folder}", markup=False)


def run_report(target: str, console: Console, out: Path | None) -> None:
    """The report of a finished evaluation once more, from its stored rows."""
    found = open_finished(target)
    _tell_where(target, found, console)
    folder = out or found.folder
    require_writable(folder)
    path = _write(folder, [found], found.arms)
    console.print(f"report: {path.with_suffix('.html')}")


def _write(
    folder: Path,
    evaluations: Sequence[Finished],
    arms: Sequence[ArmResult],
    names: Mapping[str, str] | None = None,
) -> Path:
    """A report of finished evaluations; of several, what each was asked stands under its name."""
    facts = [each.facts for each in evaluations]
    one = len(evaluations) == 1
    labels = [each.name for each in evaluations]
    found = {e.id: e for each in evaluations for e in each.examples()}
    prints = {} if one else {n: f.get("hashes", {}) for n, f in zip(labels, facts, strict=True)}
    around = (RunFolder.around(each.folder) for each in evaluations)
    run = next((found for found in around if found is not None), None)
    abouts = {n: f.get("about", {}) for n, f in zip(labels, facts, strict=True)}
    configs = {n: f.get("config", {}) for n, f in zip(labels, facts, strict=True)}
    flat = {f"{n}/{key}": value for n, each in prints.items() for key, value in each.items()}
    return write_report(
        folder,
        arms=arms,
        job_seconds=sum(each["job_seconds"] for each in facts),
        metrics=run.metrics() if run else [],
        config=facts[0].get("config", {}) if one else configs,
        fidelity=facts[0].get("fidelity", {}) if one else {},
        examples=list(found.values()),
        skipped={k: v for each in facts for k, v in each.get("skipped", {}).items()},
        hashes=facts[0].get("hashes", {}) if one else flat,
        about=facts[0].get("about") if one else together(abouts),
        names=names,
        measured=_common(facts),
    )


def _common(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """When and where evaluations were measured; what they do not share is listed."""
    first, *others = facts
    found = {}
    for key in MEASURED:
        values = [each[key] for each in (first, *others) if key in each]
        if values and all(value == values[0] for value in values):
            found[key] = values[0]
        elif key == "date" and values:
            found[key] = f"{min(values)} to {max(values)}"
    return found


def _told(done: ArmResult) -> str:
    exact = sum(row.verdict.exact for row in done.results)
    free = sum(row.unconstrained is not None for row in done.results)
    broken = sum(row.error is not None for row in done.results)
    notes = [f"{exact} of {len(done.results)} rows exact"]
    if free:
        notes.append(f"{free} not constrained (their schemas cannot be held by this grammar)")
    if broken:
        notes.append(f"{broken} failed in the engine")
    return ", ".join(notes)


def _tell_skipped(category: str, reasons: Sequence[str], console: Console) -> None:
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
