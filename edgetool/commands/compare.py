"""Put finished evaluations side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edgetool.commands.common import console, group
from edgetool.commands.report import tell_where, write_again
from edgetool.errors import UsageError
from edgetool.files import require_writable, write_text

if TYPE_CHECKING:
    from edgetool.eval.results import Finished

app = group()


@app.command(help=__doc__)
def compare(
    targets: Annotated[list[str], typer.Argument(help="What was evaluated, the baseline first.")],
    out: Annotated[Path | None, typer.Option(help="Folder for a report of them all.")] = None,
) -> None:
    run_compare(targets, console(), out)


def run_compare(targets: Sequence[str], console: Console, out: Path | None) -> None:
    """Any number of finished evaluations side by side; with `out`, a report of them all."""
    from edgetool.eval.compare import compare_facts, comparison_tables, one_runtime
    from edgetool.eval.results import called, distinct, relabelled

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
        path = write_again(out, evaluations, one_runtime(arms), names)
        write_text(out / "compare.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        console.print(f"report: {path.with_suffix('.html')}")


def _opened(target: str, console: Console) -> list[Finished]:
    """The finished evaluations of a target; where one was put with --out, that is said."""
    from edgetool.eval.results import all_finished

    found = all_finished(target)
    for each in found:
        tell_where(target, each, console)
    return found
