"""The figures of a report: what svg.py and charts.py draw, from facts and arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgetool.eval.evaluate import ArmResult
from edgetool.eval.metrics import summarize
from edgetool.eval.outcomes import BROKEN, FIXED, RIGHT, WRONG, exact_by_row
from edgetool.eval.paired import BASE, TRAINED
from edgetool.eval.report import charts, svg
from edgetool.eval.report.headline import Headline, leading
from edgetool.runtime import FREE

CURVES = (  # metric, caption, unit, factor
    ("exact", "Completions with exactly the right calls", "per cent", 100),
    ("reward", "Mean reward", "reward", 1),
    ("mean_token_accuracy", "Mean token accuracy", "per cent", 100),  # of a supervised run
    ("completions/mean_length", "Mean completion length", "tokens", 1),
)
HELD_OUT = "exact"  # the curve that the evaluation's own figures belong on
COUNTED = {
    RIGHT: "right before and after",
    FIXED: "fixed",
    BROKEN: "broken",
    WRONG: "wrong before and after",
}
LONGEST_NAME = 20  # characters of a model's name beside a bar
Row = Mapping[str, Any]
Names = Mapping[str, str]  # what stands behind "base" and "trained" (see results.called)


def outcome_dots(found: Headline, names: Names) -> dict[str, Any] | None:
    """A dot for each row, and what the dots mean; None where several models stand side by side."""
    if not found.counts:
        return None
    words = COUNTED if found.before is not None else {RIGHT: "right", WRONG: "wrong"}
    if names:  # neither came before the other
        words = {**words, RIGHT: "right in both", WRONG: "wrong in both"}
    legend = [(kind, count, words[kind]) for kind, count in found.counts.items()]
    description = ", ".join(f"{count} {text}" for _, count, text in legend) + "."
    return {
        "legend": legend,
        "each": charts.rows_a_dot(sum(found.counts.values())),
        "svg": charts.dots(
            found.counts, name="dots", title="Every request", description=description
        ),
    }


def bars(arms: Sequence[ArmResult], names: Names) -> list[dict[str, Any]]:
    """A picture per category: exact match of every model and arm, with intervals."""
    figures = []
    for number, category in enumerate(dict.fromkeys(arm.category for arm in arms)):
        here = [arm for arm in arms if arm.category == category]
        entries = [
            {
                "label": label,
                "value": row["exact_match"],
                "low": row["exact_match_ci95"][0],
                "high": row["exact_match_ci95"][1],
            }
            for label, arm in _without_equals(here, names)
            for row in [summarize(arm)]
        ]
        title = f"Exact match, per cent: {category or 'own rows'}"
        drawn = charts.share_bars(entries, name=f"bars{number}", title=title)
        figures.append({"category": category, "n": len(here[0].results), "svg": drawn})
    return figures


def _without_equals(arms: Sequence[ArmResult], names: Names) -> list[tuple[str, ArmResult]]:
    """Arms under their names in a picture; of a model whose arms are all alike, one."""
    name, found = _namer(arms, names), []
    for model in dict.fromkeys(arm.model for arm in arms):
        own = [arm for arm in arms if arm.model == model]
        if len(own) > 1 and _alike(own):
            found.append((name(model, "each arm"), own[0]))
        else:
            found += [(name(model, arm.arm), arm) for arm in own]
    return found


def squares(facts: Row, arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """The 2x2s of the arms' runtime, each with its picture; none where decoding changed no row."""
    runtimes = {arm.runtime for arm in arms}
    found = [s for s in facts["squares"] if s["runtime"] in runtimes and not _is_flat(s, arms)]
    names = [(facts.get("names") or {}).get(model, model) for model in svg.MODELS]
    return [{**square, "svg": _slope(square, number, names)} for number, square in enumerate(found)]


def _is_flat(square: Row, arms: Sequence[ArmResult]) -> bool:
    here = [arm for arm in arms if arm.category == square.get("category", "")]
    kinds = (FREE, square["arm"])
    return all(
        _alike([a for a in here if a.model == model and a.arm in kinds]) for model in svg.MODELS
    )


def _alike(arms: Sequence[ArmResult]) -> bool:
    """Whether arms have the very same rows right."""
    return all(exact_by_row([arm]) == exact_by_row(arms[:1]) for arm in arms)


def _slope(square: Row, number: int, names: Sequence[str]) -> str:
    held = square["arm"]
    cells = {(m, a): square["cells"][f"{m}/{a}"] for m in svg.MODELS for a in (FREE, held)}
    title = f"Exact match of {' and '.join(names)}, free and {held}, per cent"
    short = [_short(name) for name in names]
    return svg.slope_chart(cells, name=f"square{number}", title=title, names=short)


def times(arms: Sequence[ArmResult], names: Names) -> str:
    """One picture of how long completions took, all categories together."""
    keys, name = dict.fromkeys((arm.model, arm.arm) for arm in arms), _namer(arms, names)
    entries = [
        (name(*key), _milliseconds(arm for arm in arms if (arm.model, arm.arm) == key))
        for key in keys
    ]
    return charts.time_ranges(entries, name="times", title="Milliseconds per completion")


def _namer(arms: Sequence[ArmResult], names: Names) -> Callable[[str, str], str]:
    """How arms are called in a picture: by the arm alone where there is one model."""
    if len({arm.model for arm in arms}) == 1:
        return lambda _, arm: arm
    return lambda model, arm: f"{_short(names.get(model, model))}, {arm}"


def _short(name: str) -> str:
    """A name without its middle: paths begin and end with what tells them apart."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


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


def curves(metrics: Sequence[Row], arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """A figure for each of CURVES that the metrics hold."""
    figures = []
    for number, (key, caption, unit, factor) in enumerate(CURVES):
        spots = [
            (float(row["step"]), factor * float(row[key]))
            for row in metrics
            if row.get("step") is not None and row.get(key) is not None
        ]
        if not spots:
            continue
        held = held_out(arms, spots[-1][0]) if key == HELD_OUT else []
        drawn = svg.line_chart(
            spots,
            name=f"curve{number}",
            title=f"{caption} per training step",
            x="step",
            y=unit,
            held_out=held,
        )
        figures.append({"caption": caption, "unit": unit, "svg": drawn, "held_out": held})
    return figures


def held_out(arms: Sequence[ArmResult], last: float) -> list[tuple[float, float]]:
    """Exact match on the evaluation's rows before the first step and after the last, per cent.

    Of the policy that was trained, where it was evaluated beside its base; else of the files.
    """
    runtimes = dict.fromkeys(arm.runtime for arm in arms)
    for runtime in sorted(runtimes, key=lambda name: name != "policy"):
        here = [arm for arm in arms if arm.runtime == runtime]
        if {BASE, TRAINED} <= {arm.model for arm in here}:
            rows = [list(exact_by_row(leading(here, m)).values()) for m in (BASE, TRAINED)]
            first, second = (100 * sum(exact) / len(exact) for exact in rows)
            return [(0.0, first), (last, second)]
    return []
