"""One self-contained page: no script, no font, no image from anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from edgetool.calls.mistakes import KINDS
from edgetool.calls.runtime import FREE
from edgetool.calls.types import Example
from edgetool.eval import charts, svg
from edgetool.eval.disagreements import disagreements
from edgetool.eval.evaluate import ERROR, ArmResult
from edgetool.eval.measures import summarize
from edgetool.eval.pairing import SYNTAX
from edgetool.eval.summary import duration, fixed_by_grammar, main_runtime, p_text, points, summary
from edgetool.eval.tables import milliseconds, percent

TEMPLATE = "report.html.jinja"

CURVES = (
    ("reward", "Mean reward", "reward"),
    ("mean_token_accuracy", "Mean token accuracy", "share"),  # of a supervised run
    ("completions/mean_length", "Mean completion length", "tokens"),
)
Row = Mapping[str, Any]


def render_html(
    facts: Mapping[str, Any],
    *,
    arms: Sequence[ArmResult],
    metrics: Sequence[Row],
    examples: Sequence[Example],
) -> str:
    """The report as HTML. `facts` is what report.json holds; the rest is as in write_report."""
    runtime = main_runtime(arms)
    leading = [arm for arm in arms if arm.runtime == runtime]
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            runtime=runtime,
            summary=summary(facts, runtime, arms),
            many=len({arm.category for arm in arms}) > 1,
            bars=bars(leading),
            squares=squares(facts, runtime),
            errors=errors(facts, runtime),
            pushed=[m for m in facts["measures"] if m["runtime"] == runtime],
            times=times(leading),
            calibration=reliability(facts, runtime),
            curves=curves(metrics),
            disagreements=disagreements(leading, examples),
            config=_yaml(facts["config"]),
            fidelity=flatten(facts["fidelity"]),
        )
    )


def bars(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """A picture per category: exact match of every model and arm, with intervals."""
    figures, name = [], _namer(arms)
    for number, category in enumerate(_categories(arms)):
        here = [arm for arm in arms if arm.category == category]
        entries = [
            {
                "label": name(arm.model, arm.arm),
                "value": row["exact_match"],
                "low": row["exact_match_ci95"][0],
                "high": row["exact_match_ci95"][1],
            }
            for arm in here
            for row in [summarize(arm)]
        ]
        title = f"Exact match, per cent: {category or 'own rows'}"
        drawn = charts.share_bars(entries, name=f"bars{number}", title=title)
        figures.append({"category": category, "n": len(here[0].results), "svg": drawn})
    return figures


def squares(facts: Row, runtime: str) -> list[dict[str, Any]]:
    """The 2x2s of a runtime, each with its picture."""
    found = [square for square in facts["squares"] if square["runtime"] == runtime]
    return [{**square, "svg": _slope(square, number)} for number, square in enumerate(found)]


def _slope(square: Row, number: int) -> str:
    held = square["arm"]
    cells = {(m, a): square["cells"][f"{m}/{a}"] for m in svg.MODELS for a in (FREE, held)}
    title = f"Exact match of base and trained, free and {held}, per cent"
    return svg.slope_chart(cells, name=f"square{number}", title=title)


def errors(facts: Row, runtime: str) -> list[dict[str, Any]]:
    """Per category: rows with each class of error in each arm, and what a constraint changed."""
    tables = []
    rows = [m for m in facts["measures"] if m["runtime"] == runtime]
    for category in dict.fromkeys(m["category"] for m in rows):
        here = [m for m in rows if m["category"] == category]
        kinds = [k for k in (*KINDS, ERROR) if any(k in m["errors"] for m in here)]
        lines = [(k, k in SYNTAX, [m["errors"].get(k, 0) for m in here]) for k in kinds]
        changes = [
            change
            for change in facts["constraint"]
            if change["runtime"] == runtime and change.get("category", "") == category
        ]
        told = [fixed_by_grammar(change) for change in changes]
        found = {"arms": here, "lines": lines, "changes": changes, "told": told}
        tables.append({"category": category, **found})
    return tables


def times(arms: Sequence[ArmResult]) -> str:
    """One picture of how long completions took, all categories together."""
    keys, name = dict.fromkeys((arm.model, arm.arm) for arm in arms), _namer(arms)
    entries = [
        (name(*key), _milliseconds(arm for arm in arms if (arm.model, arm.arm) == key))
        for key in keys
    ]
    return charts.time_ranges(entries, name="times", title="Milliseconds per completion")


def _namer(arms: Sequence[ArmResult]) -> Callable[[str, str], str]:
    """How arms are called in a picture: by the arm alone where there is one model."""
    if len({arm.model for arm in arms}) == 1:
        return lambda _, arm: arm
    return lambda model, arm: f"{model[:18]}, {arm}"


def _milliseconds(arms: Any) -> list[float]:
    return [1000 * row.seconds for arm in arms for row in arm.results if row.error is None]


def reliability(facts: Row, runtime: str) -> list[dict[str, Any]]:
    """A picture for each calibration of a runtime."""
    found = [each for each in facts["calibration"] if each["runtime"] == runtime]
    return [
        {
            **each,
            "svg": charts.reliability(
                each, name=f"calibration{number}", title="Is a call made where one is wanted?"
            ),
        }
        for number, each in enumerate(found)
    ]


def curves(metrics: Sequence[Row]) -> list[dict[str, Any]]:
    """A figure for each of CURVES that the metrics hold."""
    figures = []
    for number, (key, caption, unit) in enumerate(CURVES):
        spots = [
            (float(row["step"]), float(row[key]))
            for row in metrics
            if row.get("step") is not None and row.get(key) is not None
        ]
        if spots:
            title = f"{caption} per training step"
            drawn = svg.line_chart(spots, name=f"curve{number}", title=title, x="step", y=unit)
            figures.append({"caption": caption, "unit": unit, "svg": drawn})
    return figures


def flatten(value: Row, before: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{before}{key}"
        if isinstance(inner, Mapping):
            pairs.extend(flatten(inner, f"{name}."))
        else:
            pairs.append((name, f"{inner:.4g}" if isinstance(inner, float) else _text(inner)))
    return pairs


def _categories(arms: Sequence[ArmResult]) -> list[str]:
    return list(dict.fromkeys(arm.category for arm in arms))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if value else ""


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _environment() -> jinja2.Environment:
    """Autoescape is on: what a model or a row says is shown, never interpreted."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        milliseconds=milliseconds,
        points=points,
        p_text=p_text,
        duration=duration,
        pretty=_pretty,
        compact=_text,
        interval_bar=lambda row: svg.interval_bar(row["exact_match"], *row["exact_match_ci95"]),
    )
    return environment
