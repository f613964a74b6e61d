"""One self-contained page: no script, no font, no image from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from edgetool.calls.runtime import CONSTRAINED, FREE
from edgetool.calls.types import Example
from edgetool.eval import svg
from edgetool.eval.disagreements import disagreements
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.pairing import Interaction, interaction
from edgetool.eval.summary import duration, main_runtime, p_text, points, summary
from edgetool.eval.tables import milliseconds, percent

TEMPLATE = "report.html.jinja"

CURVES = (
    ("reward", "Mean reward", "reward"),
    ("mean_token_accuracy", "Mean token accuracy", "share"),  # of a supervised run
    ("completions/mean_length", "Mean completion length", "tokens"),
)


def render_html(
    facts: Mapping[str, Any],
    *,
    arms: Sequence[ArmResult],
    metrics: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
) -> str:
    """The report as HTML. `facts` is what report.json holds; the rest is as in write_report."""
    runtime = main_runtime(arms)
    leading = [arm for arm in arms if arm.runtime == runtime]
    square = interaction(leading)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            runtime=runtime,
            summary=summary(facts, runtime, arms, square),
            square=square,
            arms=(FREE, CONSTRAINED),
            slope=_slope(square),
            curves=curves(metrics),
            disagreements=disagreements(leading, examples),
            config=_yaml(facts["config"]),
            fidelity=flatten(facts["fidelity"]),
        )
    )


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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


def flatten(value: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{before}{key}"
        if isinstance(inner, Mapping):
            pairs.extend(flatten(inner, f"{name}."))
        else:
            pairs.append((name, f"{inner:.4g}" if isinstance(inner, float) else _text(inner)))
    return pairs


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _slope(square: Interaction | None) -> str:
    if square is None:
        return ""
    title = "Exact match of base and trained, free and constrained, per cent"
    return svg.slope_chart(square.cells, name="square", title=title)


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
