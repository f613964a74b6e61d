"""What the numbers say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgetool.activity import duration
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.paired import BASE, SYNTAX, TRAINED
from edgetool.runtime import CONSTRAINED, FREE

# Where a user's model will run; the figures of a report are first given for it.
PREFERRED = ("gguf:Q8_0", "gguf:", "")

MINUS = "\u2212"


def main_runtime(arms: Sequence[ArmResult]) -> str:
    """The runtime a report leads with: GGUF Q8_0, else another GGUF, else the first; of those
    equally preferred, the one with most arms."""
    names = list(dict.fromkeys(arm.runtime for arm in arms))
    for prefix in PREFERRED:
        found = [name for name in names if name.startswith(prefix)]
        if found:
            return max(found, key=lambda name: sum(arm.runtime == name for arm in arms))
    return ""


def summary(facts: Mapping[str, Any], runtime: str, arms: Sequence[ArmResult]) -> list[str]:
    """Sentences about `runtime`, from report_facts and the arms behind them; of several categories,
    each in its turn."""
    here = [row for row in facts["rows"] if row["runtime"] == runtime]
    categories = list(dict.fromkeys(row.get("category", "") for row in here))
    lines = []
    for category in categories:
        sentences = _category(facts, runtime, category)
        where = f"{category or 'Own rows'}: " if len(categories) > 1 else ""
        lines.append(where + sentences[0])
        lines += sentences[1:]
    lines.append(_trouble(arms))
    lines.append(f"The whole job took {duration(facts['job_seconds'])}.")
    return [line for line in lines if line]


def _category(facts: Mapping[str, Any], runtime: str, category: str) -> list[str]:
    def mine(found: Mapping[str, Any]) -> bool:
        return found["runtime"] == runtime and found.get("category", "") == category

    rows = {(r["model"], r["arm"]): r for r in facts["rows"] if mine(r)}
    gains = {d["arm"]: d for d in facts["differences"] if mine(d)}
    names = facts.get("names") or {}
    called = (names.get(BASE, "the base model"), names.get(TRAINED, "the trained model"))
    free, held = (gains.get(arm) for arm in (FREE, CONSTRAINED))
    if free and held and _equal(rows, free, held):
        alike = _training(runtime, FREE, rows, free, called)
        return [alike + " Constrained decoding gets as many right, in both."]
    lines = [
        _training(runtime, arm, rows, gains[arm], called)
        for arm in (FREE, CONSTRAINED)
        if arm in gains
    ]
    lines = lines or [_alone(runtime, row) for row in rows.values()]
    lines += [_interaction(square) for square in facts["squares"] if mine(square)]
    return lines


def _equal(rows: Mapping[Any, Any], free: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Whether two arms have as much right in both models, and flip the same rows."""
    same = all(
        rows[model, FREE][key] == rows[model, CONSTRAINED][key]
        for model in (BASE, TRAINED)
        for key in ("exact_match", "irrelevance")
    )
    return same and free["exact_match"] == held["exact_match"]


def _training(
    runtime: str,
    arm: str,
    rows: Mapping[Any, Any],
    gain: Mapping[str, Any],
    called: tuple[str, str],
) -> str:
    base, trained, change = rows["base", arm], rows["trained", arm], gain["exact_match"]
    (first, second), (low, high) = called, change["ci95"]
    verdict = "" if low > 0 or high < 0 else ", so these rows do not tell it from no change"
    text = (
        f"On {plural(trained['n'], 'row')}, {arm} decoding in {runtime}, {first} makes exactly the "
        f"right calls on {_share(base['exact_match'])} and {second} on "
        f"{_share(trained['exact_match'])}: {points(change['points'])} points (95 % interval "
        f"{points(low)} to {points(high)}, McNemar p {p_text(change['p_value'])}){verdict}."
    )
    if gain["irrelevance"]:
        text += (
            f" Where no tool fits, {first} rightly makes no call on "
            f"{_share(base['irrelevance'])} of the rows and {second} on "
            f"{_share(trained['irrelevance'])}."
        )
    return text


def _alone(runtime: str, row: Mapping[str, Any]) -> str:
    low, high = row["exact_match_ci95"]
    return (
        f"On {plural(row['n'], 'row')}, {row['arm']} decoding in {runtime}, {row['model']} makes "
        f"exactly the right calls on {_share(row['exact_match'])} (95 % interval {100 * low:.1f} "
        f"to {100 * high:.1f} %)."
    )


def _interaction(square: Mapping[str, Any]) -> str:
    low, high = square["ci95"]
    if low <= 0 <= high:
        meaning = "the gains of training and of the grammar add up as far as these rows can tell"
    elif square["points"] < 0 and square["cells"]["trained/free"] > square["cells"]["base/free"]:
        meaning = "the grammar alone would have given that much of what training gained"
    elif square["points"] < 0:
        meaning = "training gains less, or loses more, under the grammar than without it"
    else:
        meaning = "training gains more under the grammar than without it"
    text = (
        f"Training × decoding ({square['arm']}): the interaction is {points(square['points'])} "
        f"points (95 % interval {points(low)} to {points(high)}); {meaning}."
    )
    if square["fixed"]:
        text += (
            f" Training fixed {square['fixed']} rows; the grammar alone, without training, gets "
            f"{square['given']} of them right."
        )
    return text


def fixed_by_grammar(change: Mapping[str, Any]) -> str:
    """Whether a constraint fixed syntax only, or choices as well."""
    syntax, choice = ([0, 0, 0], [0, 0, 0])
    for found in change["classes"]:
        counts = syntax if found["kind"] in SYNTAX else choice
        for place, key in enumerate(("removed", "made", "left")):
            counts[place] += found[key]
    exact, model = change["exact_match"], change["model"]
    if not any(syntax[:2] + choice[:2]):
        return f"The grammar ({change['arm']}, {model}) changed no error of any row."
    better, worse = len(exact["flipped_to_right"]), len(exact["flipped_to_wrong"])
    low, high = exact["ci95"]
    return (
        f"With the grammar ({change['arm']}, {model}), {syntax[0]} of "
        f"{syntax[0] + syntax[2]} errors of syntax are gone and {syntax[1]} are new; {better} rows "
        f"became right and {worse} wrong, exact match {points(exact['points'])} points "
        f"({points(low)} to {points(high)}). The model still chooses what to call: {choice[0]} "
        f"errors of choice are gone and {choice[1]} are new. Broken syntax had hidden some of them."
    )


def _trouble(arms: Sequence[ArmResult]) -> str:
    cut = sum(row.problem == "cut" for arm in arms for row in arm.results)
    failed = sum(row.error is not None for arm in arms for row in arm.results)
    free = sum(row.unconstrained is not None for arm in arms for row in arm.results)
    total = sum(len(arm.results) for arm in arms)
    lines = []
    if cut or failed:
        lines.append(
            f"Of {total} completions in all arms, {cut} were cut at the length limit and {failed} "
            "failed in the engine; both count as invalid."
        )
    if free:
        lines.append(
            f"{free} completions of constraining arms were written free, since no grammar can "
            "express their tools; they count as they are."
        )
    return " ".join(lines)


def plural(count: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows", "1,200 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def points(value: float) -> str:
    """A signed number of percentage points with a true minus sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
