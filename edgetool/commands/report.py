"""Write a finished evaluation's report again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgetool.commands.about import together
from edgetool.commands.common import console, group
from edgetool.eval.evaluate import ArmResult
from edgetool.files import require_writable
from edgetool.run_folder import RunFolder

if TYPE_CHECKING:
    from edgetool.eval.results import Finished

app = group()


@app.command(help=__doc__)
def report(
    target: Annotated[str, typer.Argument(help="What was evaluated: a run, a GGUF file, ...")],
    out: Annotated[Path | None, typer.Option(help="Folder; where it was by default.")] = None,
) -> None:
    run_report(target, console(), out)


def run_report(target: str, console: Console, out: Path | None) -> None:
    """The report of a finished evaluation once more, from its stored rows."""
    from edgetool.eval.results import open_finished

    found = open_finished(target)
    tell_where(target, found, console)
    folder = out or found.folder
    require_writable(folder)
    path = write_again(folder, [found], found.arms)
    console.print(f"report: {path.with_suffix('.html')}")


def tell_where(target: str, found: Finished, console: Console) -> None:
    from edgetool.eval.results import results_folder

    if found.folder not in (results_folder(target), Path(target)):
        console.print(f"{target}: evaluated in {found.folder}", markup=False)


def write_again(
    folder: Path,
    evaluations: Sequence[Finished],
    arms: Sequence[ArmResult],
    names: Mapping[str, str] | None = None,
) -> Path:
    """A report of finished evaluations; of several, what each was asked stands under its name."""
    from edgetool.eval.report.report import write_report

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
    from edgetool.eval.report.report import MEASURED

    first, *others = facts
    found = {}
    for key in MEASURED:
        values = [each[key] for each in (first, *others) if key in each]
        if values and all(value == values[0] for value in values):
            found[key] = values[0]
        elif key == "date" and values:
            found[key] = f"{min(values)} to {max(values)}"
    return found
