"""One self-contained page: no font, image or script from anywhere. It reads well without its own
script, which only copies the figures."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from edgetool.calls.judge.mistakes import KINDS
from edgetool.calls.types import Example
from edgetool.eval.evaluate import ERROR, ArmResult
from edgetool.eval.outcomes import BROKEN, FIXED, RIGHT, WRONG
from edgetool.eval.paired import BASE, SYNTAX, TRAINED
from edgetool.eval.report import charts, figures, svg
from edgetool.eval.report.calls_shown import shown_calls
from edgetool.eval.report.examples import DECODING, shown
from edgetool.eval.report.headline import WHAT, headline, leading, markdown
from edgetool.eval.report.per_tool import per_tool
from edgetool.eval.report.summary import (
    fixed_by_grammar,
    main_runtime,
    p_text,
    plural,
    points,
    summary,
)
from edgetool.eval.report.tables import milliseconds, percent

TEMPLATE = "report.html.jinja"
SCRIPT = "report.js"

TOOLS_SHOWN = 12  # the rest is folded
KINDS_SHOWN = {
    FIXED: "fixed",
    BROKEN: "broken",
    WRONG: "wrong in all arms",
    RIGHT: "right",
    DECODING: "changed by decoding",
}
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
    here = [arm for arm in arms if arm.runtime == runtime]
    models = {arm.model for arm in here}
    found = headline(facts, arms, runtime, examples)
    names = facts.get("names") or {}
    script = (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")
    return (
        _environment(names)
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            runtime=runtime,
            headline=found,
            what=WHAT,
            markdown=markdown(found, facts),
            script=Markup(script),  # ours, and the only one that the page's policy lets run
            script_hash=_source_hash(script),
            dots=figures.outcome_dots(found, names),
            summary=summary(facts, runtime, arms),
            changes=changes(facts),
            many=len({arm.category for arm in arms}) > 1,
            bars=figures.bars(here, names),
            squares=figures.squares(facts, here),
            errors=errors(facts, runtime),
            pushed=[m for m in facts["measures"] if m["runtime"] == runtime],
            times=figures.times(here, names),
            effort_labels=[label for label, _ in EFFORT],
            calibration=figures.reliability(facts, runtime),
            curves=figures.curves(metrics, arms),
            examples=[(each, shown_calls(each)) for each in shown(here, examples)],
            kinds=kinds_shown(models),
            arms_of={model: len({a.arm for a in here if a.model == model}) for model in models},
            tools=tool_table(here, examples),
            config=_yaml(facts["config"]),
            fidelity=flatten(facts["fidelity"]),
        )
    )


def kinds_shown(models: Collection[str]) -> dict[str, str]:
    """What the kinds of examples are called."""
    if len(models) == 1:
        return {**KINDS_SHOWN, WRONG: "wrong"}
    return KINDS_SHOWN if {BASE, TRAINED} <= set(models) else {**KINDS_SHOWN, DECODING: "disputed"}


def tool_table(arms: Sequence[ArmResult], examples: Sequence[Example]) -> dict[str, Any] | None:
    """How each tool fares in the leading arm, one or two models; None without the rows."""
    models = list(dict.fromkeys(arm.model for arm in arms))
    if {BASE, TRAINED} <= set(models):
        models = [BASE, TRAINED]
    by_model = {model: leading(arms, model) for model in models[:2]}
    rows = per_tool(by_model, examples) if len(models) < 3 else []
    if not rows:
        return None
    arm = by_model[models[0]][0].arm
    return {"models": models, "arm": arm, "rows": rows[:TOOLS_SHOWN], "more": rows[TOOLS_SHOWN:]}


def changes(facts: Row) -> list[dict[str, Any]]:
    """What training changed, arms in which it changed the very same rows together: `arms`."""
    found: list[dict[str, Any]] = []
    for change in facts["differences"]:
        rest = {key: value for key, value in change.items() if key != "arm"}
        same = next((each for each in found if rest.items() <= each.items()), None)
        if same is None:
            found.append({**rest, "arms": change["arm"]})
        else:
            same["arms"] += f", {change['arm']}"
    return found


def named(facts: Row, model: str) -> str:
    """What a model is called: "base" and "trained" may stand for files."""
    return str((facts.get("names") or {}).get(model, model))


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
        sentences = [fixed_by_grammar({**c, "model": named(facts, c["model"])}) for c in changes]
        found = {"arms": here, "lines": lines, "changes": changes, "sentences": sentences}
        tables.append({"category": category, **found})
    return tables


EFFORT = (
    ("First token, p50 ms", lambda m: milliseconds(m["first_token_ms"]["p50"])),
    ("First token, p95 ms", lambda m: milliseconds(m["first_token_ms"]["p95"])),
    ("Whole call, p50 ms", lambda m: milliseconds(m["latency_ms"]["p50"])),
    ("Whole call, p95 ms", lambda m: milliseconds(m["latency_ms"]["p95"])),
    ("Tokens", lambda m: m["tokens"]),
    ("Forced", lambda m: m["forced_tokens"]),
    ("Cut away", lambda m: percent(m["cut_mass"])),
    ("Schema-valid", lambda m: percent(m["schema_valid"]["value"])),
    ("Not constrained", lambda m: len(m["unconstrained"])),
    ("Peak MiB", lambda m: milliseconds(m["peak_mb"])),
)


def effort_cells(measured: Row) -> list[tuple[str, Any]]:
    """What one arm took, as (label, text)."""
    return [(label, text(measured)) for label, text in EFFORT]


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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if value else ""


def _environment(names: Mapping[str, str]) -> jinja2.Environment:
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
        pretty=partial(json.dumps, indent=2, ensure_ascii=False),
        compact=_text,
        change_bar=charts.change_bar,
        interval_bar=_interval_bar,
        plural=plural,
        words=_words,
        named=lambda model: names.get(model, model),
        effort_cells=effort_cells,
    )
    return environment


def _interval_bar(row: Row) -> Markup:
    return svg.interval_bar(row["exact_match"], *row["exact_match_ci95"])


def _words(content: Any) -> str:
    """A message's content as text: it may be parts, or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else _text(content)
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return " ".join(part for part in parts if isinstance(part, str))


def _source_hash(script: str) -> str:
    """How a content security policy names the one inline script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
