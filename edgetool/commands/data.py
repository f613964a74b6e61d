"""Rows: convert, validate, stats, split, mix, mask, show, synth."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetool.commands.common import JsonOption, group

if TYPE_CHECKING:
    from edgetool.data.mix import Ingredient

app = group(__doc__)

RowsArgument = Annotated[Path, typer.Argument(metavar="ROWS.jsonl", help="Canonical rows.")]
OutOption = Annotated[Path, typer.Option(metavar="ROWS.jsonl", help="Where the rows go.")]
SeedOption = Annotated[int, typer.Option(help="The same seed, the same rows.")]


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a hub id owner/name.")],
    out: OutOption = Path("rows.jsonl"),
    from_: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Data set; recognised by default.")
    ] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="rejected.jsonl beside the rows by default.")
    ] = None,
    coerce: Annotated[
        bool, typer.Option("--coerce", help='Read "1" as 1 where the schema wants a number.')
    ] = False,
    config: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many records.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core by default.")
    ] = None,
) -> None:
    """Rows of a known data set -> canonical rows.

    Data sets: openai (and TRL), sharegpt (LLaMA-Factory, Hermes), xlam, toolace, toucan, nemotron,
    glaive, toolrl, when2call, when2call-train, bfcl, seal-tools, api-bank, snips, sgd, edgetool.
    """
    from edgetool.data.convert import Options
    from edgetool.data.convert import convert as run

    options = Options(from_, config, split, coerce, jobs or os.cpu_count() or 1, limit)
    reasons = rejected or out.with_name("rejected.jsonl")
    with _writing_rows(out):
        summary = run(source, out, reasons, options)
    counted = ", ".join(f"{count} {name}" for name, count in summary.by_importer.items())
    print(f"read {summary.read} rows: {summary.written} written to {out} ({counted}), ", end="")
    print(f"{summary.rejected} rejected" + (f" to {reasons}" if summary.rejected else ""))
    if summary.renamed:
        print(f"{_rows(summary.renamed)} had an earlier row's id and got another, such as 1-2")
    for what, number in summary.left_out.items():
        print(f"left out of {_rows(number)}: {what}")
    for path, reason in summary.skipped:
        print(f"not read: {reason if path in reason else f'{path}: {reason}'}", file=sys.stderr)


@app.command()
def validate(rows: RowsArgument) -> None:
    """Check every row; exit code 1 when some are bad. What grammars cannot hold is a note."""
    from edgetool.calls.types import Tool
    from edgetool.commands.tools import print_notes
    from edgetool.data.rows import checked_rows, no_rows, require_rows
    from edgetool.data.sources import foreign_rows
    from edgetool.errors import EdgetoolError

    require_rows(rows)
    bad = 0

    def report(problem: str) -> None:
        nonlocal bad
        bad += 1
        print(problem)

    good = 0
    tools: dict[Tool, None] = {}
    for example in checked_rows(rows, report):
        good += 1
        tools.update(dict.fromkeys(example.tools))
    if not good + bad:
        raise no_rows(rows)
    print_notes(tools)
    if bad:
        hint = None if good else foreign_rows(rows)
        raise EdgetoolError(hint or f"{rows}: {bad} of {good + bad} rows are bad")
    print(f"{rows}: {good} row{'' if good == 1 else 's'}, all good")


@app.command()
def stats(
    rows: RowsArgument,
    against: Annotated[
        Path | None, typer.Option(metavar="ROWS.jsonl", help="Count what both files have.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count rows, tools, calls, repeats; leaks between two files."""
    from edgetool.data.rows import stream_rows
    from edgetool.data.stats import gather, leaks

    gathered = gather(stream_rows(rows))
    counts: dict[str, Any] = gathered.as_json()
    if against:
        counts["in_both"] = leaks(gathered, gather(stream_rows(against)))
    if as_json:
        print(json.dumps(counts, ensure_ascii=False, indent=1))
        return
    for name, value in counts.items():
        shown = value
        if isinstance(value, dict):
            shown = "  ".join(f"{key} {inner}" for key, inner in value.items())
        print(f"{name.replace('_', ' '):22}{round(shown, 4) if value is shown else shown}")


@app.command()
def split(
    rows: RowsArgument,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For PART.jsonl of each part.")],
    part: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="May be repeated.")
    ] = None,
    by: Annotated[str, typer.Option(help="utterance, tool or service.")] = "utterance",
    seed: SeedOption = 0,
) -> None:
    """Divide rows without leaks: by utterance, tool or service."""
    from edgetool.data.split import split as run

    shares = dict(_named_number("--part", text) for text in part or ["train=0.9", "validation=0.1"])
    with _writing_to(out):
        summary = run(rows, out, shares, by, seed)
    for name in shares:
        print(f"{out / name}.jsonl: {summary.rows[name]} rows")
    if summary.tools_removed or summary.left_out:
        print(
            f"{summary.tools_removed} tools that belong to other parts were removed from rows; "
            f"{summary.left_out} rows had no other tool and are in no part"
        )


@app.command()
def mix(
    files: Annotated[
        list[str], typer.Argument(metavar="ROWS.jsonl[=PART]...", help="PART is a weight.")
    ],
    out: OutOption,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows in all.")] = None,
    counts: Annotated[bool, typer.Option("--counts", help="PART is a number of rows.")] = False,
    irrelevance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows whose tool is taken away.")
    ] = 0.0,
    distractors: Annotated[int, typer.Option(min=0, help="Tools added, near ones first.")] = 0,
    pool: Annotated[
        list[Path] | None, typer.Option(help="Rows or tools.json with them; the rows' own tools.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Mix and shuffle rows; take tools away and add others."""
    from edgetool.data.mix import Harder, pool_of
    from edgetool.data.mix import mix as run

    ingredients = [_ingredient(text) for text in files]
    tools = pool_of(pool or [one.path for one in ingredients]) if distractors or pool else None
    harder = Harder(irrelevance, distractors, tools)
    with _writing_rows(out):
        taken = run(ingredients, out, rows=rows, counts=counts, harder=harder, seed=seed)
    for ingredient, number in zip(ingredients, taken, strict=True):
        print(f"{ingredient.path}: {number} rows")
    print(f"{out}: {sum(taken)} rows")


@app.command()
def mask(
    rows: RowsArgument,
    out: OutOption,
    rate: Annotated[float, typer.Option(min=0, max=1, help="Share of rows masked.")] = 1.0,
    seed: SeedOption = 0,
) -> None:
    """Make the names of tools and parameters meaningless."""
    from edgetool.data.mask import mask_rows
    from edgetool.data.rows import stream_rows, write_rows

    with _writing_rows(out):
        write_rows(out, mask_rows(stream_rows(rows), rate, seed))
    print(f"{out}: written")


@app.command()
def show(
    rows: RowsArgument,
    count: Annotated[int, typer.Option("--rows", min=1, help="How many.")] = 3,
    skip: Annotated[int, typer.Option(min=0, help="Skip this many first.")] = 0,
    row_id: Annotated[str | None, typer.Option("--id", help="Only the row with this id.")] = None,
) -> None:
    """Print rows for people to read."""
    from itertools import islice

    from edgetool.data.rows import stream_rows
    from edgetool.data.show import lines_of
    from edgetool.errors import UsageError

    found = (row for row in stream_rows(rows) if row_id in (None, row.id))
    shown = 0
    for row in islice(found, 0 if row_id else skip, None if row_id else skip + count):
        print("\n".join(lines_of(row)) + "\n")
        shown += 1
    if not shown:
        which = f"with the id '{row_id}'" if row_id else f"after the first {skip}"
        raise UsageError(f"{rows} has no row {which}")


@app.command()
def synth(
    tools: Annotated[Path, typer.Argument(metavar="TOOLS", help="JSON, or a Python file.")],
    out: OutOption,
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Such as http://127.0.0.1:8000/v1.")
    ] = None,
    model: Annotated[str, typer.Option(help="The endpoint's model.")] = "default",
    api_key: Annotated[str | None, typer.Option(envvar="EDGETOOL_ENDPOINT_KEY")] = None,
    irrelevance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows whose tool is not offered.")
    ] = 0.15,
    offered: Annotated[int, typer.Option(min=1, help="At most this many tools a row.")] = 4,
    seed: SeedOption = 0,
) -> None:
    """Make rows for your own tools, offline or with a model."""
    from contextlib import nullcontext

    from edgetool.data.synth.endpoint import Endpoint, Writer
    from edgetool.data.synth.synthesize import Plan, synthesize
    from edgetool.data.tool_files import load_tools

    plan = Plan(rows, irrelevance, offered, seed=seed)
    rejected = out.with_name("rejected.jsonl")
    known = load_tools(tools)
    with (
        _writing_rows(out),
        Writer(Endpoint(endpoint, model, api_key)) if endpoint else nullcontext() as writer,
    ):
        made = synthesize(known, out, rejected, plan, writer)
    print(f"{out}: {made.written} rows", end="")
    print(f"; {made.rejected} rejected, see {rejected}" if made.rejected else "")
    if made.written < rows:
        print(f"only {made.written} different rows can be made of these tools", file=sys.stderr)


@contextmanager
def _writing_rows(out: Path) -> Iterator[None]:
    """A place that cannot hold a file of rows is said before any work, in one line."""
    from edgetool.errors import UsageError

    if out.is_dir():
        named = out / "rows.jsonl"
        raise UsageError(f"--out {out} is a folder; name a file in it, such as --out {named}")
    with _writing_to(out.parent):
        yield


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    from edgetool.files import require_writable, writing

    require_writable(folder)
    with writing(folder):
        yield


def _rows(number: int) -> str:
    return f"{number} row{'s' * (number != 1)}"


def _named_number(option: str, text: str) -> tuple[str, float]:
    from edgetool.errors import UsageError

    name, equals, number = text.rpartition("=")
    try:
        if not equals or not name or "/" in name:
            raise ValueError
        return name, float(number)
    except ValueError:
        raise UsageError(f"{option} {text}: write a name and a number, as train=0.9") from None


def _ingredient(text: str) -> Ingredient:
    """rows.jsonl or rows.jsonl=2; a file whose own name holds "=" is taken as it is."""
    from edgetool.data.mix import Ingredient
    from edgetool.errors import UsageError

    path, equals, number = text.rpartition("=")
    if not equals or Path(text).is_file():
        return Ingredient(Path(text))
    try:
        return Ingredient(Path(path), float(number))
    except ValueError:
        raise UsageError(f"{text}: write a file and its part, as rows.jsonl=2") from None
