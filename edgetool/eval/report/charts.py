"""The report's pictures of shares, times and calibration, as inline SVG (see svg.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgetool.eval.outcomes import WRONG
from edgetool.eval.report.svg import BOTTOM, LEFT, TOP, WIDTH, Scale, drawing, label, ticks
from edgetool.eval.statistics import percentile

ROW = 24  # height of a row, in drawing units
NARROWEST, WIDEST, LETTER = 128, 220, 6.6  # of a row's name, and about what a letter takes
SIDE = 210  # of the square that calibration is drawn in
DOTS = 600  # more would be a grey field
ACROSS = ((75, 15), (200, 20), (DOTS, 30))  # dots in a line, by how many there are at most
HOLLOW = (WRONG,)


def share_bars(entries: Sequence[Mapping[str, Any]], *, name: str, title: str) -> Markup:
    """A bar with its interval for each of {"label", "value", "low", "high"}, shares in [0, 1]."""
    names = _name_width([entry["label"] for entry in entries])
    scale = Scale(0.0, 1.0, names, WIDTH - 44)
    parts = [_rules([0.0, 0.25, 0.5, 0.75, 1.0], scale, len(entries), lambda v: f"{100 * v:.0f}")]
    for number, entry in enumerate(entries):
        y = TOP + number * ROW + ROW / 2
        value, low, high = (scale(entry[key]) for key in ("value", "low", "high"))
        form = (
            '<path class="bar" d="M{:.1f} {:.1f}H{:.1f}"/>'
            '<path class="whisker" d="M{:.1f} {:.1f}H{:.1f}"/>'
        )
        parts.append(Markup(form).format(scale(0.0), y, value, low, y, high))
        parts.append(label(names - 8, y + 4, entry["label"], "end", "tick"))
        parts.append(label(WIDTH, y + 4, f"{100 * entry['value']:.1f}", "end", "value"))
    description = "; ".join(
        f"{e['label']}: {100 * e['value']:.1f} ({100 * e['low']:.1f} to {100 * e['high']:.1f})"
        for e in entries
    )
    return drawing(name, title, description, parts, _height(entries))


def time_ranges(entries: Sequence[tuple[str, Sequence[float]]], *, name: str, title: str) -> Markup:
    """For each (label, milliseconds): a line from p5 to p95, a bar over the middle half, a dot."""
    found = [
        (text, [percentile(values, q) or 0.0 for q in (5, 25, 50, 75, 95)])
        for text, values in entries
        if values
    ]
    if not found:
        return Markup("")
    marks = ticks(0.0, max(spread[-1] for _, spread in found), count=4)
    names = _name_width([text for text, _ in found])
    scale = Scale(marks[0], marks[-1], names, WIDTH - 44)
    parts = [_rules(marks, scale, len(found), lambda v: f"{v:g}")]
    for number, (text, spread) in enumerate(found):
        y = TOP + number * ROW + ROW / 2
        p5, p25, p50, p75, p95 = map(scale, spread)
        form = (
            '<path class="whisker" d="M{:.1f} {:.1f}H{:.1f}"/><path class="bar" d="M{:.1f} '
            '{:.1f}H{:.1f}"/><circle class="middle" cx="{:.1f}" cy="{:.1f}" r="3.5"/>'
        )
        parts.append(Markup(form).format(p5, y, p95, p25, y, p75, p50, y))
        parts.append(label(names - 8, y + 4, text, "end", "tick"))
        parts.append(label(WIDTH, y + 4, f"{spread[2]:.0f}", "end", "value"))
    description = "; ".join(f"{text}: median {spread[2]:.0f} ms" for text, spread in found)
    return drawing(name, title, description, parts, _height(found))


def reliability(found: Mapping[str, Any], *, name: str, title: str) -> Markup:
    """What measures.calibration gives: predicted against seen, best on the diagonal."""
    to_x = Scale(0.0, 1.0, LEFT, LEFT + SIDE)
    to_y = Scale(0.0, 1.0, TOP + SIDE, TOP)
    parts = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        rule = '<path class="rule" d="M{:.1f} {:.1f}H{:.1f}"/>'
        parts.append(Markup(rule).format(to_x(0), to_y(mark), to_x(1)))
        parts.append(label(LEFT - 6, to_y(mark) + 4, f"{100 * mark:.0f}", "end", "tick"))
        parts.append(label(to_x(mark), TOP + SIDE + 15, f"{100 * mark:.0f}", "middle", "tick"))
    best = '<path class="best" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
    parts.append(Markup(best).format(to_x(0), to_y(0), to_x(1), to_y(1)))
    for part in found["bins"]:
        x, share = to_x(part["mean"]), part["wants_call"]
        low, high = map(to_y, share["ci95"])
        form = (
            '<path class="whisker" d="M{:.1f} {:.1f}V{:.1f}"/>'
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>'
        )
        radius = 2.5 + 4.5 * (part["n"] / found["n"]) ** 0.5
        parts.append(Markup(form).format(x, low, high, x, to_y(share["value"]), radius))
    parts.append(
        label(to_x(0.5), TOP + SIDE + BOTTOM - 2, "model's probability", "middle", "label")
    )
    description = "; ".join(
        f"{100 * part['mean']:.0f} % said, {100 * part['wants_call']['value']:.0f} % of "
        f"{part['n']} rows"
        for part in found["bins"]
    )
    return drawing(name, title, description, parts, TOP + SIDE + BOTTOM + 4)


def dots(counts: Mapping[str, int], *, name: str, title: str, description: str) -> Markup:
    """A dot for each row, those of one outcome together; above DOTS rows, one for several.

    counts   rows by outcome, in the order they are drawn
    description   the same in words
    """
    total = sum(counts.values())
    each = rows_a_dot(total)
    number = math.ceil(total / each)
    across = next(width for most, width in ACROSS if number <= most)
    pitch = WIDTH / across
    places = iter(range(number))  # left to right and then down
    parts = []
    for kind, count in shared_out(counts, each).items():
        at = [divmod(next(places), across) for _ in range(count)]
        moves = "".join(f"M{pitch * (x + 0.5):g} {pitch * (y + 0.5):g}h0" for y, x in at)
        form = '<path class="row {}" stroke-width="{:.1f}" d="{}"/>'
        if moves:
            parts.append(Markup(form).format(kind, 0.72 * pitch, moves))
        if moves and kind in HOLLOW:
            parts.append(Markup(form).format("hole", 0.5 * pitch, moves))
    return drawing(name, title, description, parts, pitch * math.ceil(number / across))


def rows_a_dot(total: int) -> int:
    return max(1, math.ceil(total / DOTS))


def shared_out(counts: Mapping[str, int], each: int) -> dict[str, int]:
    """Dots by outcome when one stands for `each` rows: largest remainders, so that they add up."""
    total = math.ceil(sum(counts.values()) / each)
    whole = {kind: count // each for kind, count in counts.items()}
    by_rest = sorted(counts, key=lambda kind: -(counts[kind] % each))
    for kind in by_rest[: total - sum(whole.values())]:
        whole[kind] += 1
    return whole


def change_bar(before: float, after: float) -> Markup:
    """Two shares in [0, 1] on a line from 0 to 100 %: hollow before, filled after. The table beside
    it says the numbers, so it is hidden from screen readers."""
    first, second = (4 + 92 * share for share in (before, after))
    kind = "worse" if after < before else "better"
    return Markup(
        '<svg class="interval" viewBox="0 0 100 14" aria-hidden="true">'
        '<path class="track" d="M4 7H96"/><path class="change {}" d="M{:.1f} 7H{:.1f}"/>'
        '<circle class="was" cx="{:.1f}" cy="7" r="3"/><circle class="now {}" cx="{:.1f}" cy="7" '
        'r="3.4"/></svg>'
    ).format(kind, first, second, first, kind, second)


def _name_width(names: Sequence[str]) -> float:
    longest = max(map(len, names), default=0)
    return min(max(NARROWEST, LETTER * longest + 10), WIDEST)


def _rules(marks: Sequence[float], scale: Scale, rows: int, spell: Any) -> Markup:
    bottom = TOP + rows * ROW
    parts = []
    for mark in marks:
        rule = '<path class="rule" d="M{:.1f} {}V{}"/>'
        parts.append(Markup(rule).format(scale(mark), TOP, bottom))
        parts.append(label(scale(mark), bottom + 14, spell(mark), "middle", "tick"))
    return Markup("").join(parts)


def _height(rows: Sequence[Any]) -> float:
    return TOP + len(rows) * ROW + 22
