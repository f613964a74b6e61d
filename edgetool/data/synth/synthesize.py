"""Tools -> checked rows: which tool, which arguments, who else is on offer, in whose words."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example, JsonObject, Tool
from edgetool.data.check import Problem, expected_call
from edgetool.data.rows import line_of
from edgetool.data.split import normalised
from edgetool.data.synth.endpoint import Writer, unsaid
from edgetool.data.synth.templates import utterance
from edgetool.data.synth.values import Unfillable, draw_arguments
from edgetool.errors import DataError, UsageError
from edgetool.files import building_files, open_text

# Calls drawn for each row asked for before giving up: tools without arguments run out of words.
_PATIENCE = 20
_PER_REQUEST = 4  # utterances the endpoint is asked for at a time


@dataclass(frozen=True)
class Plan:
    """rows: how many. irrelevance: share of rows whose tool is not on offer. offered: at most so
    many tools a row. optional: how often an argument that may be left out is given."""

    rows: int = 100
    irrelevance: float = 0.15
    offered: int = 4
    optional: float = 0.5
    seed: int = 0


@dataclass
class Synthesis:
    """What came of it: rows written, and utterances rejected with their reasons."""

    written: int = 0
    rejected: int = 0


Rejection = tuple[str, str, JsonObject]  # utterance, reason, call


def synthesize(
    tools: Sequence[Tool], out: Path, rejected: Path, plan: Plan, writer: Writer | None = None
) -> Synthesis:
    """Write rows about the tools; what did not pass goes to `rejected`, absent when nothing did.

    Raises UsageError without tools, DataError when no row could be made.
    """
    if not tools:
        raise UsageError("the file holds no tool; give a list of at least one")
    made = Synthesis()
    out.parent.mkdir(parents=True, exist_ok=True)
    rejected.parent.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    with building_files([out, rejected]) as (rows_part, rejected_part):
        with open_text(rows_part) as rows, open_text(rejected_part) as left:
            for one in rows_about(tools, plan, writer):
                if isinstance(one, Example):
                    rows.write(line_of(one))
                    made.written += 1
                else:
                    said, reason, call = one
                    line = {"utterance": said, "reason": reason, "call": call}
                    left.write(dumps(line) + "\n")
                    made.rejected += 1
                    reasons.append(reason)
        if not made.written:
            raise DataError(["no row could be made", *reasons[:3]])
    if not made.rejected:
        rejected.unlink()
    return made


def rows_about(
    tools: Sequence[Tool], plan: Plan, writer: Writer | None = None
) -> Iterator[Example | Rejection]:
    """Checked rows, at most `plan.rows`, and between them what was rejected."""
    seen: set[str] = set()
    made = 0
    for attempt in range(plan.rows * _PATIENCE):
        if made == plan.rows:
            return
        rng = random.Random(f"{plan.seed}/{attempt}")
        # Every tool in its turn: a choice would leave a rare one with few rows.
        tool = tools[attempt % len(tools)]
        try:
            arguments = draw_arguments(tool, rng, plan.optional)
        except Unfillable as problem:
            if attempt < len(tools):  # say it once a tool
                yield "", str(problem), {"name": tool.name}
            continue
        for said in _words(tool, arguments, rng, writer):
            if made == plan.rows:
                return
            one = _row(f"synth-{made}", said, tool, arguments, tools, plan, rng, seen)
            made += isinstance(one, Example)
            if one is not None:
                yield one


def _words(
    tool: Tool, arguments: JsonObject, rng: random.Random, writer: Writer | None
) -> Iterator[str]:
    if writer is None:
        yield utterance(tool, arguments, rng)
    else:
        yield from writer.utterances(tool, arguments, _PER_REQUEST, rng.randrange(1 << 31))


def _row(
    id_: str,
    said: str,
    tool: Tool,
    arguments: JsonObject,
    tools: Sequence[Tool],
    plan: Plan,
    rng: random.Random,
    seen: set[str],
) -> Example | Rejection | None:
    """A row, the reason why there is none, or None for words that were there before."""
    call = {"name": tool.name, "arguments": arguments}
    missing = unsaid(said, arguments)
    if missing:
        return said, f"does not say {', '.join(missing)}", call
    if normalised(said) in seen:
        return None
    try:
        expected = expected_call("calls[0]", call, (tool,))
    except Problem as problem:
        return said, str(problem), call
    seen.add(normalised(said))
    others = [other for other in tools if other.name != tool.name]
    offered = rng.sample(others, min(len(others), rng.randint(1, plan.offered) - 1))
    absent = bool(offered) and rng.random() < plan.irrelevance
    if not absent:
        offered.insert(rng.randint(0, len(offered)), tool)
    message = {"role": "user", "content": said}
    metadata = {"source": "synth"}
    return Example(
        id_, (message,), tuple(offered), () if absent else (expected,), metadata=metadata
    )
