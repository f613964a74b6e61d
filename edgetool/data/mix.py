"""Rows of several files -> one file, in the shares asked for, shuffled, and made harder if asked.

Only the places of the lines are held in memory (eight bytes a row), so a million rows do not need
much. Rows keep their ids, under their file's name where there are several files.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from edgetool.calls.types import Example, Tool
from edgetool.data.check import Problem
from edgetool.data.lines import row_lines
from edgetool.data.nearness import Pool
from edgetool.data.rows import no_rows, parse_row, require_rows, stream_rows, write_rows
from edgetool.data.tool_files import load_tools
from edgetool.errors import DataError, UsageError

_FILE_BITS = 48  # of a place: the lower ones are the offset in the file


@dataclass(frozen=True)
class Ingredient:
    """A file and its part in the mixture: a weight, or a number of rows. None: all of its rows."""

    path: Path
    part: float | None = None


@dataclass(frozen=True)
class Harder:
    """irrelevance: share of calling rows whose needed tools are taken away, so that no call is
    right. distractors: tools added to each row, from the pool, the nearest first."""

    irrelevance: float = 0.0
    distractors: int = 0
    pool: Pool | None = None


def mix(
    ingredients: list[Ingredient],
    out: Path,
    *,
    rows: int | None = None,
    counts: bool = False,
    harder: Harder = Harder(),
    seed: int = 0,
) -> list[int]:
    """Write the mixture and return the rows taken from each file.

    rows     in all; without it as many as the weights allow
    counts   parts are numbers of rows, not weights
    Raises UsageError when a file has fewer rows than its part asks for or is packed, DataError
    when it holds none.
    """
    places = [_places(ingredient.path) for ingredient in ingredients]
    taken = _numbers(ingredients, [len(found) for found in places], rows, counts)
    rng = random.Random(seed)
    order = array("Q")
    for file, (found, number) in enumerate(zip(places, taken, strict=True)):
        chosen = found if number == len(found) else rng.sample(found, number)
        order.extend((file << _FILE_BITS) | place for place in chosen)
    rng.shuffle(order)
    names = _names([ingredient.path for ingredient in ingredients])
    with ExitStack() as stack:
        files = [stack.enter_context(i.path.open("rb")) for i in ingredients]
        mixed = _mixed(order, files, names)
        write_rows(out, (harder_row(row, harder, seed) for row in mixed))
    return taken


def pool_of(paths: list[Path]) -> Pool:
    """The tools of rows (.jsonl) and of lists of tools (.json, .py)."""
    return Pool(tool for path in paths for tool in _tools_in(path))


def _tools_in(path: Path) -> Iterator[Tool]:
    if path.suffix in (".json", ".py"):
        yield from load_tools(path)
    else:
        yield from (tool for row in stream_rows(path) for tool in row.tools)


def harder_row(example: Example, harder: Harder, seed: int) -> Example:
    """The row, perhaps without the tools it needs and with others beside; fixed by seed and id."""
    rng = random.Random(f"{seed}/{example.id}")
    needed = {call.name for call in example.calls}
    distractors, pool = harder.distractors, harder.pool
    offered = list(example.tools)
    anchors = [tool for tool in offered if tool.name in needed] or offered
    if needed and rng.random() < harder.irrelevance:
        fitting = needed.union(*(pool.twins(tool) for tool in anchors)) if pool else needed
        kept = [tool for tool in offered if tool.name not in fitting]
        without = {tool.name for tool in offered} | _about(example, pool)
        others = _near(anchors, pool, distractors + len(needed), without)
        if kept or others:
            metadata = {**example.metadata, "made": "irrelevance"}
            tools = _inserted(kept, others, rng)
            return replace(example, tools=tools, calls=(), completion=None, metadata=metadata)
    # Where no call is right, the tool that was missing must not come back as a distractor.
    without = {tool.name for tool in offered} | (set() if needed else _about(example, pool))
    others = _near(anchors, pool, distractors, without)
    return replace(example, tools=_inserted(offered, others, rng)) if others else example


def _about(example: Example, pool: Pool | None) -> set[str]:
    return pool.told_in(example.utterance) if pool else set()


def _near(anchors: list[Tool], pool: Pool | None, count: int, without: set[str]) -> list[Tool]:
    """Tools near to the anchors, for each of them in turn, and twins of none."""
    if pool is None or count <= 0:
        return []
    avoided = without.union(*(pool.twins(tool) for tool in anchors))
    rankings = [pool.near(tool, count, avoided) for tool in anchors]
    in_turn = [tool for rank in zip_longest(*rankings) for tool in rank if tool is not None]
    return list({tool.name: tool for tool in in_turn}.values())[:count]


def _inserted(tools: list[Tool], others: list[Tool], rng: random.Random) -> tuple[Tool, ...]:
    """All of them; the others at random places, the tools in their own order."""
    mixed = list(tools)
    for other in others:
        mixed.insert(rng.randint(0, len(mixed)), other)
    return tuple(mixed)


def _places(path: Path) -> array[int]:
    """Where in the file each row begins."""
    require_rows(path)
    if path.suffix == ".gz":
        remedy = f"rows are drawn from all over the file: type `gunzip -k {path}` and give that"
        raise UsageError(f"{path}: is packed with gzip, and {remedy}")
    if next(row_lines(path), None) is None:
        raise no_rows(path)
    places, at = array("Q"), 0
    with path.open("rb") as file:
        for line in file:
            if not line.isspace():
                places.append(at)
            at += len(line)
    return places


def _numbers(
    ingredients: list[Ingredient], found: list[int], rows: int | None, counts: bool
) -> list[int]:
    """How many rows of each file to take."""
    parts = [i.part for i in ingredients]
    if counts:
        taken = [n if p is None else int(p) for p, n in zip(parts, found, strict=True)]
    else:
        weights = [float(n) if p is None else p for p, n in zip(parts, found, strict=True)]
        if any(part is not None for part in parts):
            weights = [1.0 if part is None else part for part in parts]
        taken = _by_weight(weights, found, rows)
    for ingredient, number, there in zip(ingredients, taken, found, strict=True):
        if number > there:
            raise UsageError(
                f"{ingredient.path} has {there} rows, and {number} are asked of it; ask for fewer "
                "rows or give it a smaller part"
            )
    return taken


def _by_weight(weights: list[float], found: list[int], rows: int | None) -> list[int]:
    """Whole numbers nearest to the weights' shares of `rows`, which they add up to."""
    if min(weights, default=0) <= 0:
        raise UsageError("every file needs rows and a weight above 0, such as a.jsonl=2")
    whole = sum(weights)
    if rows is None:
        rows = int(min(n / weight for n, weight in zip(found, weights, strict=True)) * whole)
    exact = [rows * weight / whole for weight in weights]
    taken = [int(number) for number in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (taken[i] - exact[i], i))
    for i in by_rest[: rows - sum(taken)]:
        taken[i] += 1
    return taken


def _names(paths: list[Path]) -> list[str]:
    """A name for the ids of each file's rows; none for a single file."""
    if len(paths) == 1:
        return [""]
    stems = [path.name.removesuffix(".jsonl") for path in paths]
    return [s if stems.count(s) == 1 else f"{s}-{i}" for i, s in enumerate(stems, start=1)]


def _mixed(order: array[int], files: Sequence[BinaryIO], names: list[str]) -> Iterator[Example]:
    for place in order:
        file, offset = place >> _FILE_BITS, place & ((1 << _FILE_BITS) - 1)
        files[file].seek(offset)
        line = files[file].readline()
        try:
            row = parse_row(line, f"row-{offset}")
        except Problem as problem:
            path = files[file].name
            remedy = f"type `edgetool data validate {path}` to see every bad row"
            raise DataError([f"{path}, byte {offset}: {problem}", remedy]) from None
        yield replace(row, id=f"{names[file]}/{row.id}") if names[file] else row
