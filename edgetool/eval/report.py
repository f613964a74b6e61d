"""report.json, report.html and the rows behind them, from finished arms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgetool.calls.types import Example
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.measures import Difference, paired_difference, summarize, without_call
from edgetool.eval.provenance import machine, versions
from edgetool.eval.results import dump_results
from edgetool.files import write_text


def write_report(
    folder: Path,
    *,
    arms: Sequence[ArmResult],
    job_seconds: float,
    metrics: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    fidelity: Mapping[str, Any],
    examples: Sequence[Example],
) -> Path:
    """Write report.json, report.html and results/*.jsonl into `folder`; returns report.json.

    arms          finished evaluations; a (runtime, arm) with both "base" and "trained" is compared
    job_seconds   wall time of everything the report is about
    metrics       rows of metrics.jsonl, for the curves
    config        the resolved configuration
    fidelity      what each step on the way to GGUF cost
    examples      the rows that were evaluated

    Raises UsageError when two arms that should be compared did not see the same rows.
    """
    from edgetool.eval.html import render_html  # jinja2 only when a page is made

    facts = report_facts(arms, job_seconds, config, fidelity)
    page = render_html(facts, arms=arms, metrics=metrics, examples=examples)
    for arm in arms:
        dump_results(folder / "results", arm)
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
    """The content of report.json, plain JSON values only."""
    facts = {
        "rows": [summarize(arm) for arm in arms],
        "job_seconds": job_seconds,
        "differences": differences(arms),
        "machine": machine(),
        "versions": versions(),
        "config": config,
        "fidelity": fidelity,
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


def differences(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """trained - base for each runtime and arm that has both; `irrelevance` is None where no row
    expects no call."""
    by_key = {(arm.model, arm.runtime, arm.arm): arm for arm in arms}
    found = []
    for model, runtime, arm in by_key:
        base, trained = by_key.get(("base", runtime, arm)), by_key[model, runtime, arm]
        if model != "trained" or base is None:
            continue
        quiet_base, quiet_trained = without_call(base), without_call(trained)
        quiet = paired_difference(quiet_base, quiet_trained) if quiet_base.results else None
        found.append(
            {
                "runtime": runtime,
                "arm": arm,
                "exact_match": _as_json(paired_difference(base, trained)),
                "irrelevance": _as_json(quiet) if quiet else None,
            }
        )
    return found


def _as_json(difference: Difference) -> dict[str, Any]:
    return {
        "points": difference.points,
        "ci95": list(difference.ci95),
        "p_value": difference.p_value,
        "flipped_to_right": list(difference.flipped_to_right),
        "flipped_to_wrong": list(difference.flipped_to_wrong),
    }


def _plain(value: Any) -> Any:
    """JSON values only: a float that JSON cannot spell becomes null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
