"""The first thing a reader sees: one figure, or one before and one after, and of what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgetool.calls.types import Example
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.outcomes import BROKEN, FIXED, RIGHT, WRONG, counted, exact_by_row, outcomes
from edgetool.eval.paired import BASE, TRAINED
from edgetool.eval.report.summary import main_runtime, p_text, plural, points
from edgetool.eval.report.tables import markdown_table
from edgetool.eval.report.tested import model_name, tested
from edgetool.eval.statistics import mcnemar, newcombe, wilson
from edgetool.runtime import FREE

Facts = Mapping[str, Any]
WHAT = "Requests answered with exactly the right tool calls"


@dataclass(frozen=True)
class Headline:
    """What a report says first.

    title      for the browser's tab and the first line of the Markdown
    model      what the figures are of
    before     percentage as text; None where there is nothing to compare with
    after      percentage as text; None where several models stand side by side
    names      what `before` and `after` are called
    sentence   the same in words and rows
    sure       interval and p value
    arms       what the other arms say; "" where there is one
    trend      "better", "worse", "same", or "alone" without a before
    counts     rows by outcome; of a single model, those right and those wrong
    each       (model, percentage) where several stand side by side
    tested     what was tested, as (name, text)
    """

    title: str
    model: str
    before: str | None
    after: str | None
    names: tuple[str, str]
    sentence: str
    sure: str
    arms: str
    trend: str = "alone"
    counts: dict[str, int] = field(default_factory=dict)
    each: list[tuple[str, str]] = field(default_factory=list)
    tested: list[tuple[str, str]] = field(default_factory=list)


def headline(
    facts: Facts, arms: Sequence[ArmResult], runtime: str, examples: Sequence[Example]
) -> Headline:
    """Of what report.json holds and the arms behind it; figures are of `runtime`."""
    here = [arm for arm in arms if arm.runtime == runtime]
    models = list(dict.fromkeys(arm.model for arm in here))
    names = facts.get("names") or {}
    called = ", ".join(names.get(model, model) for model in models)
    rows = len(exact_by_row(leading(here, models[0])))
    about = tested(facts, runtime, called, rows, examples)
    if BASE in models and TRAINED in models:
        return _change(facts, here, about)
    if len(models) == 1:
        return _single(facts, here, about)
    return _several(here, models, about)


def leading(arms: Sequence[ArmResult], model: str) -> list[ArmResult]:
    """A model's arms that the figures lead with, a category each: free where it ran."""
    own = [arm for arm in arms if arm.model == model]
    kind = FREE if any(arm.arm == FREE for arm in own) else own[0].arm
    return [arm for arm in own if arm.arm == kind]


def _change(facts: Facts, here: Sequence[ArmResult], about: list[tuple[str, str]]) -> Headline:
    base, trained = leading(here, BASE), leading(here, TRAINED)
    counts = counted(outcomes(base, trained))
    n, was = sum(counts.values()), counts[RIGHT] + counts[BROKEN]
    now = counts[RIGHT] + counts[FIXED]
    before, after = shares(was, now, n)
    names = facts.get("names") or {}
    model = model_name(facts, names.get(TRAINED, TRAINED))
    called = (names.get(BASE, "before training"), names.get(TRAINED, "after training"))
    return Headline(
        title=f"{model}: {before} → {after} exactly right",
        model=model,
        before=before,
        after=after,
        names=called,
        sentence=_flips(was, now, n, counts, called if names else None),
        sure=_certainty(counts),
        arms=_other_arms(here),
        trend="same" if was == now else ("better" if now > was else "worse"),
        counts=counts,
        tested=about,
    )


def _flips(
    was: int, now: int, n: int, counts: Mapping[str, int], called: tuple[str, str] | None
) -> str:
    rows, fixed, broken = plural(n, "request"), counts[FIXED], counts[BROKEN]
    if called is None:
        return f"{was} of {rows} before training, {now} after: {fixed} fixed, {broken} broken."
    return (
        f"{called[0]}: {was} of {rows}. {called[1]}: {now} of {n}. {fixed} fixed, {broken} broken."
    )


def _single(facts: Facts, here: Sequence[ArmResult], about: list[tuple[str, str]]) -> Headline:
    own = leading(here, here[0].model)
    exact = list(exact_by_row(own).values())
    right, n = sum(exact), len(exact)
    low, high = wilson(right, n)
    model, (share, _) = model_name(facts, here[0].model), shares(right, right, n)
    return Headline(
        title=f"{model}: {share} exactly right",
        model=model,
        before=None,
        after=share,
        names=("", ""),
        sentence=f"{right} of {plural(n, 'request')}.",
        sure=f"95 % interval {100 * low:.1f} to {100 * high:.1f} %.",
        arms=_other_arms(here),
        counts={RIGHT: right, WRONG: n - right},
        tested=about,
    )


def _several(
    here: Sequence[ArmResult], models: Sequence[str], about: list[tuple[str, str]]
) -> Headline:
    rows = {model: list(exact_by_row(leading(here, model)).values()) for model in models}
    each = [(m, shares(sum(exact), sum(exact), len(exact))[0]) for m, exact in rows.items()]
    title = f"{plural(len(models), 'model')}, side by side"
    return Headline(title, title, None, None, ("", ""), "", "", "", each=each, tested=about)


def shares(before: int, after: int, n: int) -> tuple[str, str]:
    """Two shares as whole percentages; with a decimal where that alone tells them apart, and where
    rounding would say that all or none is right."""
    values = [100 * count / n for count in (before, after)]
    rounded = [f"{math.floor(value + 0.5)} %" for value in values]  # 42.5 is 43, not 42
    blurred = before != after and rounded[0] == rounded[1]
    edge = any(
        0 < count < n and r in ("0 %", "100 %")
        for count, r in zip((before, after), rounded, strict=True)
    )
    if blurred or edge:
        rounded = [f"{value:.1f} %" for value in values]
    return rounded[0], rounded[1]


def _certainty(counts: Mapping[str, int]) -> str:
    n, better, worse = sum(counts.values()), counts[FIXED], counts[BROKEN]
    low, high = (100 * x for x in newcombe(counts[RIGHT], better, worse, counts[WRONG]))
    p_value = mcnemar(better, worse)
    sure = p_value < 0.05 and not low <= 0 <= high
    verdict = "" if sure else ": that may be chance"
    return (
        f"{points(100 * (better - worse) / n)} points, 95 % interval {points(low)} to "
        f"{points(high)}, McNemar p {p_text(p_value)}{verdict}."
    )


def _other_arms(here: Sequence[ArmResult]) -> str:
    """What the arms say that the figures are not of; arms that agree are named together."""
    models = list(dict.fromkeys(arm.model for arm in here))
    lead = {model: leading(here, model) for model in models}
    same, lines = [], []
    for kind in dict.fromkeys(arm.arm for arm in here):
        own = {m: [a for a in here if (a.model, a.arm) == (m, kind)] for m in models}
        if not all(own.values()) or own == lead:
            continue
        rows = {m: exact_by_row(own[m]) for m in models}
        if rows == {m: exact_by_row(lead[m]) for m in models}:
            same.append(kind)
            continue
        found = [f"{100 * sum(r.values()) / len(r):.0f} %" for r in rows.values()]
        lines.append(f"{_spelled(kind)}: {' → '.join(found)}.")
    if same:
        first = lead[models[0]][0].arm
        lines.insert(0, f"{_listed([first, *same])} decoding get the same requests right.")
    return " ".join(lines)


def _spelled(arm: str) -> str:
    return f"{arm.replace('_', ' ').capitalize()} decoding"


def _listed(names: Sequence[str]) -> str:
    *first, last = [name.replace("_", " ") for name in names]
    return f"{', '.join(first)} and {last}".capitalize()


def report_markdown(facts: Facts, arms: Sequence[ArmResult], examples: Sequence[Example]) -> str:
    """report.md: what `markdown` says of the headline."""
    return markdown(headline(facts, arms, main_runtime(arms), examples), facts)


def markdown(found: Headline, facts: Facts) -> str:
    """The headline, what was tested and the table of all arms, to paste elsewhere."""
    figure = " → ".join(filter(None, (found.before, found.after)))
    first = f"**{found.model}. {WHAT}: {figure}**" if figure else f"**{found.title}**"
    each = [f"{name}: {share}." for name, share in found.each]
    sentences = " ".join(filter(None, (*each, found.sentence, found.sure, found.arms)))
    listed = "\n".join(f"- {name}: {_code(name, text)}" for name, text in found.tested)
    parts = (first, sentences, listed, markdown_table(facts["rows"]))
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _code(name: str, text: str) -> str:
    return f"`{text}`" if name == "Command" else text.replace("\n", " ")
