"""report.json, report.html and the rows behind them, from finished arms."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example
from edgetool.data.rows import row_of
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.eval.metrics import calibration, measures, summarize
from edgetool.eval.paired import (
    BASE,
    TRAINED,
    constraint_effect,
    interaction,
    paired_difference,
    without_call,
)
from edgetool.eval.report.headline import report_markdown
from edgetool.eval.results import dump_results
from edgetool.files import write_text
from edgetool.runtime import FREE
from edgetool.system import machine, versions


def write_report(
    folder: Path,
    *,
    arms: Sequence[ArmResult],
    job_seconds: float,
    metrics: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    fidelity: Mapping[str, Any],
    examples: Sequence[Example],
    skipped: Mapping[str, Sequence[str]] | None = None,
    hashes: Mapping[str, str] | None = None,
    about: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> Path:
    """Write report.json, report.html, report.md and results/*.jsonl into `folder`.

    arms          finished evaluations; a (runtime, arm) with both "base" and "trained" is compared
    job_seconds   wall time of everything the report is about
    metrics       rows of metrics.jsonl, for the curves
    config        the resolved configuration
    fidelity      what each step on the way to GGUF cost
    examples      the rows that were evaluated
    skipped       by category, "id: reason" of every row that could not be scored
    hashes        SHA-256 of what was evaluated, by name
    about         model, parameters, size_bytes by runtime, task, method, steps, command: what of
                  these is known
    names         what stands behind "base" and "trained", where it is not one model's training
    measured      date, machine and versions of an earlier report; None: today, here

    Returns report.json. Raises UsageError when two arms that should be compared did not see the
    same rows.
    """
    from edgetool.eval.report.html import render_html  # jinja2 only when a page is made

    facts = report_facts(arms, job_seconds, config, fidelity)
    facts |= {"about": _plain(about or {}), "names": dict(names or {}), **(measured or {})}
    facts["skipped"] = {name: list(rows) for name, rows in (skipped or {}).items() if rows}
    facts["hashes"] = {**(hashes or {}), "rows": rows_hash(examples)}
    page = render_html(facts, arms=arms, metrics=metrics, examples=examples)
    text = report_markdown(facts, arms, examples)
    for arm in arms:
        dump_results(folder / "results", arm)
    write_text(folder / "rows.jsonl", "".join(dumps(row_of(e)) + "\n" for e in examples))
    write_text(folder / "report.md", text)
    write_text(folder / "report.html", page)
    target = folder / "report.json"
    write_text(target, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return target


def report_facts(
    arms: Sequence[ArmResult],
    job_seconds: float,
    config: Mapping[str, Any],
    fidelity: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of report.json, plain JSON values only.

    rows          one per arm and category, see metrics.summarize
    measures      everything measured of each, in the same order
    differences   trained - base
    constraint    what each constraining arm changed against free
    squares       training x decoding, for each constraining arm
    calibration   of abstention, over all rows a model wrote free, where that was recorded
    """
    facts = {
        "rows": [summarize(arm) for arm in arms],
        "job_seconds": job_seconds,
        "measures": [measures(arm) for arm in arms],
        "differences": differences(arms),
        "constraint": constraint(arms),
        "squares": squares(arms),
        "calibration": [
            {"model": model, "runtime": runtime, **found}
            for model, runtime in dict.fromkeys((arm.model, arm.runtime) for arm in arms)
            if (found := calibration(_free_rows(arms, model, runtime)))
        ],
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "config": config,
        "fidelity": fidelity,
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


# What of report.json holds for the time and place of the evaluation.
MEASURED = ("date", "machine", "versions")


def differences(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """trained - base for each runtime, arm and category that has both; `irrelevance` is None where
    no row expects no call."""
    by_key = {(arm.model, arm.runtime, arm.arm, arm.category): arm for arm in arms}
    found = []
    for (model, *where), trained in by_key.items():
        base = by_key.get((BASE, where[0], where[1], where[2]))
        if model != TRAINED or base is None:
            continue
        quiet_base, quiet_trained = without_call(base), without_call(trained)
        quiet = paired_difference(quiet_base, quiet_trained) if quiet_base.results else None
        found.append(
            {
                "runtime": trained.runtime,
                "arm": trained.arm,
                **_category(trained),
                "exact_match": asdict(paired_difference(base, trained)),
                "irrelevance": asdict(quiet) if quiet else None,
            }
        )
    return found


def constraint(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Each constraining arm against the free one of the same model, runtime and category."""
    free = {(a.model, a.runtime, a.category): a for a in arms if a.arm == FREE}
    found = []
    for held in arms:
        before = free.get((held.model, held.runtime, held.category))
        if held.arm == FREE or before is None:
            continue
        found.append(
            {
                "model": held.model,
                "runtime": held.runtime,
                "arm": held.arm,
                **_category(held),
                "exact_match": asdict(paired_difference(before, held)),
                "classes": [asdict(change) for change in constraint_effect(before, held)],
            }
        )
    return found


def squares(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """The 2x2 of every runtime, constraining arm and category that has its four cells."""
    found = []
    for runtime, category in dict.fromkeys((arm.runtime, arm.category) for arm in arms):
        here = [arm for arm in arms if (arm.runtime, arm.category) == (runtime, category)]
        for held in dict.fromkeys(arm.arm for arm in here if arm.arm != FREE):
            square = interaction(here, held)
            if square is not None:
                cells = {f"{model}/{arm}": value for (model, arm), value in square.cells.items()}
                where = {"runtime": runtime, "arm": held, **_category(here[0])}
                found.append({**where, **asdict(square), "cells": cells, "n": len(here[0].results)})
    return found


def _free_rows(arms: Sequence[ArmResult], model: str, runtime: str) -> list[RowResult]:
    """The rows a model wrote free in a runtime, in all categories."""
    key = (model, runtime, FREE)
    return [row for a in arms if (a.model, a.runtime, a.arm) == key for row in a.results]


def rows_hash(examples: Sequence[Example]) -> str:
    """SHA-256 of the rows, as canonical JSON Lines."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update((dumps(row_of(example)) + "\n").encode("utf-8", "replace"))
    return digest.hexdigest()


def _category(arm: ArmResult) -> dict[str, str]:
    return {"category": arm.category} if arm.category else {}


def _plain(value: Any) -> Any:
    """JSON values only: a float that JSON cannot spell becomes null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
