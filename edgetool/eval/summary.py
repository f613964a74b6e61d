"""What the numbers say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgetool.eval.evaluate import ArmResult
from edgetool.eval.pairing import Interaction

# Where a user's model will run; the figures of a report are first given for it.
PREFERRED = ("gguf:Q8_0", "gguf:", "")

MINUS = "\u2212"


def main_runtime(arms: Sequence[ArmResult]) -> str:
    """The runtime a report leads with: GGUF Q8_0, else another GGUF, else the first; of those
    equally preferred, the one with most arms."""
    names = list(dict.fromkeys(arm.runtime for arm in arms))
    for wanted in PREFERRED:
        found = [name for name in names if name.startswith(wanted)]
        if found:
            return max(found, key=lambda name: sum(arm.runtime == name for arm in arms))
    return ""


def summary(
    facts: Mapping[str, Any], runtime: str, arms: Sequence[ArmResult], square: Interaction | None
) -> list[str]:
    """Sentences about `runtime`, from report_facts and the arms behind them."""
    rows = {(r["model"], r["arm"]): r for r in facts["rows"] if r["runtime"] == runtime}
    gains = {d["arm"]: d for d in facts["differences"] if d["runtime"] == runtime}
    lines = [
        _training(runtime, arm, rows, gains[arm]) for arm in ("free", "constrained") if arm in gains
    ]
    if not lines:
        lines = [_alone(runtime, row) for row in rows.values()]
    if square:
        lines.append(_interaction(square))
    lines.extend(_constraint(runtime, model, rows) for model in ("base", "trained"))
    lines.append(_trouble(arms))
    lines.append(f"The whole job took {duration(facts['job_seconds'])}.")
    return [line for line in lines if line]


def _training(runtime: str, arm: str, rows: Mapping[Any, Any], gain: Mapping[str, Any]) -> str:
    base, trained, change = rows["base", arm], rows["trained", arm], gain["exact_match"]
    low, high = change["ci95"]
    verdict = "" if low > 0 or high < 0 else ", so these rows do not tell it from no change"
    text = (
        f"On {trained['n']} rows, {arm} decoding in {runtime}, the base model makes exactly the "
        f"right calls on {_share(base['exact_match'])} and the trained model on "
        f"{_share(trained['exact_match'])}: {points(change['points'])} points (95 % interval "
        f"{points(low)} to {points(high)}, McNemar p {p_text(change['p_value'])}){verdict}."
    )
    if gain["irrelevance"]:
        text += (
            f" Where no tool fits, the base model rightly makes no call on "
            f"{_share(base['irrelevance'])} of the rows and the trained model on "
            f"{_share(trained['irrelevance'])}."
        )
    return text


def _alone(runtime: str, row: Mapping[str, Any]) -> str:
    low, high = row["exact_match_ci95"]
    return (
        f"On {row['n']} rows, {row['arm']} decoding in {runtime}, {row['model']} makes exactly the "
        f"right calls on {_share(row['exact_match'])} (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %)."
    )


def _interaction(square: Interaction) -> str:
    low, high = square.ci95
    if low <= 0 <= high:
        meaning = "the gains of training and of the grammar add up as far as these rows can tell"
    elif square.points < 0:
        meaning = "the grammar alone would have given that much of what training gained"
    else:
        meaning = "training gains more under the grammar than without it"
    return (
        f"Training × decoding: the interaction is {points(square.points)} points (95 % interval "
        f"{points(low)} to {points(high)}); {meaning}."
    )


def _constraint(runtime: str, model: str, rows: Mapping[Any, Any]) -> str:
    free, held = rows.get((model, "free")), rows.get((model, "constrained"))
    if not free or not held:
        return ""
    return (
        f"The grammar takes {model} in {runtime} from {_share(free['valid'])} to "
        f"{_share(held['valid'])} valid completions."
    )


def _trouble(arms: Sequence[ArmResult]) -> str:
    cut = sum(row.problem == "cut" for arm in arms for row in arm.results)
    failed = sum(row.error is not None for arm in arms for row in arm.results)
    total = sum(len(arm.results) for arm in arms)
    if not cut and not failed:
        return ""
    return (
        f"Of {total} completions in all arms, {cut} were cut at the length limit and {failed} "
        "failed in the engine; both count as invalid."
    )


def points(value: float) -> str:
    """A signed number of percentage points with a true minus sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
