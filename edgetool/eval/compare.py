"""Finished evaluations side by side: what each scored, and which differences are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

from rich.table import Table
from rich.text import Text

from edgetool.errors import UsageError
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.metrics import summarize
from edgetool.eval.paired import BASE, TRAINED, paired_difference
from edgetool.eval.report.report import squares
from edgetool.eval.report.summary import p_text, points
from edgetool.eval.report.tables import percent, rich_table


def compare_facts(
    arms: Sequence[ArmResult], names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Plain JSON values: the rows, every pair of models that saw the same rows, the 2x2s.

    names   what stands behind "base" and "trained", see results.called

    Two models are compared in the same arm and category, whatever their runtimes.
    """
    names = names or {}
    named = [replace(arm, model=names.get(arm.model, arm.model)) for arm in arms]
    return {
        "names": dict(names),
        "rows": [summarize(arm) for arm in named],
        "pairs": list(_pairs(named)),
        "squares": squares(one_runtime(arms)),
    }


def _pairs(arms: Sequence[ArmResult]) -> Iterator[dict[str, Any]]:
    for first, second in combinations(arms, 2):
        same = (first.arm, first.category) == (second.arm, second.category)
        if not same or (first.model, first.runtime) == (second.model, second.runtime):
            continue
        head = {"arm": first.arm, "category": first.category}
        names = {"before": f"{first.model} {first.runtime}"}
        names["after"] = f"{second.model} {second.runtime}"
        try:
            found = asdict(paired_difference(first, second))
        except UsageError as error:
            yield {**head, **names, "not_comparable": str(error)}
        else:
            yield {**head, **names, **found}


def one_runtime(arms: Sequence[ArmResult]) -> Sequence[ArmResult]:
    """The arms, as of one runtime where every model ran in just one: files quantized alike."""
    runtimes: dict[str, set[str]] = {}
    for arm in arms:
        runtimes.setdefault(arm.model, set()).add(arm.runtime)
    if any(len(names) > 1 for names in runtimes.values()):
        return arms
    label = " / ".join(dict.fromkeys(arm.runtime for arm in arms))
    return [replace(arm, runtime=label) for arm in arms]


def comparison_tables(facts: Mapping[str, Any]) -> list[Table]:
    """What compare_facts found, for a terminal."""
    tables = [rich_table(facts["rows"]), _pair_table(facts["pairs"])]
    return tables + [_square_table(square, facts["names"]) for square in facts["squares"]]


def _pair_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("category", "arm", "from", "to", "points [95 % CI]", "McNemar p", "rows")
    title = "Differences in exact match, on the same rows"
    table = Table(*columns, title=title, title_justify="left")
    for pair in pairs:
        where = (pair["category"] or "own rows", pair["arm"], pair["before"], pair["after"])
        if "not_comparable" in pair:
            found = ("not the same rows", "", "")
        else:
            low, high = pair["ci95"]
            better, worse = len(pair["flipped_to_right"]), len(pair["flipped_to_wrong"])
            change = f"{points(pair['points'])} [{points(low)}, {points(high)}]"
            found = (change, p_text(pair["p_value"]).removeprefix("= "), f"+{better} -{worse}")
        table.add_row(*(Text(cell) for cell in (*where, *found)))
    return table


def _square_table(square: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    where = " · ".join(filter(None, (square.get("category"), square["runtime"])))
    held, cells = square["arm"], square["cells"]
    title = f"Training x decoding, exact match: {where}"
    table = Table("", "free", held, "gain", title=title, title_justify="left")
    for model in (BASE, TRAINED):
        free, constrained = cells[f"{model}/free"], cells[f"{model}/{held}"]
        gain = points(100 * (constrained - free))
        table.add_row(names.get(model, model), percent(free), percent(constrained), gain)
    gains = [100 * (cells[f"trained/{arm}"] - cells[f"base/{arm}"]) for arm in ("free", held)]
    low, high = square["ci95"]
    corner = f"{points(square['points'])} [{points(low)}, {points(high)}]"
    table.add_row("gain", *map(points, gains), corner)
    return table
