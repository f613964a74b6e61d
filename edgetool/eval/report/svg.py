"""The report's few pictures, as inline SVG that takes its colours from the page's style sheet.

Drawings are 360 units wide, so that their text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 36
MODELS = ("base", "trained")

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] onto [start, end] in drawing units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(
    points: Sequence[Point],
    *,
    name: str,
    title: str,
    x: str,
    y: str,
    held_out: Sequence[Point] = (),
) -> Markup:
    """One curve over its steps: a faint dot for every value, their moving average strong.

    name       unique in the page; title is read out by screen readers; x and y label the axes
    held_out   the same measured on rows that are not trained on, drawn as squares with their values
    """
    points, held_out = _finite(points), _finite(held_out)
    if not points:
        return Markup("")
    seen = [*points, *held_out]
    ticks_x = ticks(min(p[0] for p in seen), max(p[0] for p in seen), whole=True)
    ticks_y = ticks(min(p[1] for p in seen), max(p[1] for p in seen))
    to_x = Scale(ticks_x[0], ticks_x[-1], LEFT, WIDTH - RIGHT)
    to_y = Scale(ticks_y[0], ticks_y[-1], HEIGHT - BOTTOM, TOP)
    smooth = moving_average(points)
    body = [
        _axes(ticks_x, ticks_y, to_x, to_y, x),
        _specks(points, to_x, to_y),
        _path(smooth, to_x, to_y, "curve"),
        *(_square(point, to_x, to_y) for point in held_out),
    ]
    return drawing(name, title, _line_described(points, smooth, held_out, x, y), body)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [p for p in points if all(map(math.isfinite, p))]


def _line_described(
    points: Sequence[Point], smooth: Sequence[Point], held_out: Sequence[Point], x: str, y: str
) -> str:
    first, last = smooth[0], smooth[-1]
    rest = "".join(f" Held out, at {x} {at:g}: {value:.3g}." for at, value in held_out)
    return (
        f"{y}, moving average: {first[1]:.3g} at {x} {first[0]:g}, {last[1]:.3g} at {last[0]:g}; "
        f"lowest single value {min(p[1] for p in points):.3g}, "
        f"highest {max(p[1] for p in points):.3g}.{rest}"
    )


def _specks(points: Sequence[Point], to_x: Scale, to_y: Scale) -> Markup:
    places = "".join(f"M{to_x(x):.1f} {to_y(y):.1f}h0" for x, y in points)
    return Markup('<path class="raw" d="{}"/>').format(places)


def _square(point: Point, to_x: Scale, to_y: Scale) -> Markup:
    x, y = to_x(point[0]), to_y(point[1])
    form = '<path class="held" d="M{:.1f} {:.1f}h8v8h-8z"/>'
    # Beside the first point, and on the inner side of one at the right edge.
    left = x > (LEFT + WIDTH - RIGHT) / 2
    text = label(
        x + (-8 if left else 8), y - 6, f"{point[1]:.3g}", "end" if left else "start", "value"
    )
    return Markup(form).format(x - 4, y - 4) + text


def slope_chart(
    cells: Mapping[tuple[str, str], float],
    *,
    name: str,
    title: str,
    names: Sequence[str] = MODELS,
) -> Markup:
    """The 2x2: a line from base to trained for each arm, shares in per cent.

    cells   share in [0, 1] by (model, arm): two models and two arms, the free one first
    names   what the models are called
    """
    ticks_y = ticks(0.0, 100 * max(max(cells.values()), 0.1))
    to_y = Scale(0.0, ticks_y[-1], HEIGHT - BOTTOM, TOP)
    to_x = Scale(0.0, 1.0, 104, 236)
    body = [_axes([], ticks_y, to_x, to_y, "")]
    for number, model in enumerate(names):
        body.append(label(to_x(number), HEIGHT - 12, model, "middle", "label"))
    first, second = dict.fromkeys(arm for _, arm in cells)
    free, held = ([100 * cells[m, arm] for m in MODELS] for arm in (first, second))
    body.append(_slope(first, "free", free, held, to_x, to_y))
    body.append(_slope(second, "constrained", held, free, to_x, to_y))
    description = (
        "; ".join(f"{model}, {arm}: {100 * v:.1f} %" for (model, arm), v in cells.items()) + "."
    )
    return drawing(name, title, description, body)


def _slope(
    arm: str,
    style: str,
    values: Sequence[float],
    others: Sequence[float],
    to_x: Scale,
    to_y: Scale,
) -> Markup:
    parts = [_path([(0.0, values[0]), (1.0, values[1])], to_x, to_y, f"slope {style}")]
    for number, (value, other) in enumerate(zip(values, others, strict=True)):
        x, y = to_x(number), to_y(value)
        parts.append(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(style, x, y)
        )
        parts.append(_slope_label(arm, number, value, other, to_x, to_y))
    return Markup("").join(parts)


def _slope_label(
    arm: str, number: int, value: float, other: float, to_x: Scale, to_y: Scale
) -> Markup:
    # Two labels at one end are pushed apart when their dots lie closer than a line of text.
    gap = to_y(value) - to_y(other)
    above = gap < 0 or (gap == 0 and arm != "free")
    shift = (13 - abs(gap)) / 2 * (-1 if above else 1) if abs(gap) < 13 else 0.0
    y = to_y(value) + 4 + shift
    if number == 0:
        return label(to_x(0) - 10, y, f"{value:.1f}", "end", "value")
    return label(to_x(1) + 10, y, f"{value:.1f} {arm}", "start", "value")


def interval_bar(value: float, low: float, high: float) -> Markup:
    """A share in [0, 1] with its interval on a line from 0 to 100 %; the table beside it says the
    numbers, so it is hidden from screen readers."""
    at, start, end = (4 + 92 * part for part in (value, low, high))
    return Markup(
        '<svg class="interval" viewBox="0 0 100 14" aria-hidden="true">'
        '<path class="track" d="M4 7H96"/><path class="range" d="M{:.1f} 7H{:.1f}"/>'
        '<circle class="at" cx="{:.1f}" cy="7" r="3.2"/></svg>'
    ).format(start, end, at)


def ticks(low: float, high: float, *, whole: bool = False, count: int = 5) -> list[float]:
    """About `count` round numbers whose ends enclose [low, high]; always at least two."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / count)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def moving_average(points: Sequence[Point]) -> list[Point]:
    """Centred mean over about a tenth of the curve, at least five values; at its ends, over what
    there is of that."""
    reach = max(2, len(points) // 20)
    smooth = []
    for i, (x, _) in enumerate(points):
        window = [y for _, y in points[max(0, i - reach) : i + reach + 1]]
        smooth.append((x, sum(window) / len(window)))
    return smooth


def _axes(
    ticks_x: Sequence[float], ticks_y: Sequence[float], to_x: Scale, to_y: Scale, x: str
) -> Markup:
    parts = []
    for tick in ticks_y:
        rule = '<path class="rule" d="M{} {:.1f}H{}"/>'
        parts.append(Markup(rule).format(LEFT, to_y(tick), WIDTH - RIGHT))
        parts.append(label(LEFT - 6, to_y(tick) + 4, f"{tick:.4g}", "end", "tick"))
    for tick in ticks_x:
        parts.append(label(to_x(tick), HEIGHT - BOTTOM + 15, f"{tick:g}", "middle", "tick"))
    if x:
        parts.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x, "middle", "label"))
    return Markup("").join(parts)


def _path(points: Sequence[Point], to_x: Scale, to_y: Scale, kind: str) -> Markup:
    places = "L".join(f"{to_x(x):.1f} {to_y(y):.1f}" for x, y in points)
    return Markup('<path class="{}" d="M{}"/>').format(kind, places)


def label(x: float, y: float, text: str, anchor: str, kind: str) -> Markup:
    """A piece of text; anchor is start, middle or end."""
    form = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return Markup(form).format(kind, x, y, anchor, text)


def drawing(
    name: str, title: str, description: str, body: Sequence[Markup], height: float = HEIGHT
) -> Markup:
    """A picture with its title and what it tells, for screen readers."""
    head = Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">'
        '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>'
    ).format(WIDTH, height, name, name, name, title, name, description)
    return head + Markup("").join(body) + Markup("</svg>")
