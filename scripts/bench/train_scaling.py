"""How the cost of a training step of ours grows with G and with P.

    python scripts/bench/train_scaling.py
    python scripts/bench/train_scaling.py --prompt 200 --prompt 400 --generations 4 --repeats 1

One prompt of P tokens and its G completions of C tokens are one packed row of P + G C tokens, so a
step should take a + b (P + G C) seconds, where a trainer that repeats the prompt pays G (P + C).
Prints a, b and R^2 of that line for the step and for its parts; model and runs are train_step's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench import sides
from scripts.bench.sides import Spec
from scripts.bench.train_step import COMPLETION, MODEL

PROMPTS, GENERATIONS = (200, 400, 800, 1600), (2, 4, 8, 16)
PARTS = ("step_s", "rollout_s", "train_s")


def main() -> None:
    options = _options()
    model = str(sides.make_model(sides.BUILD / "qwen2-27m", MODEL))
    rows = []
    print("    P   C   G  tokens    step s  rollout    train    MiB", flush=True)
    try:
        for prompt, generations in itertools.product(options.prompt, options.generations):
            spec = sides.spec_of(
                options, model, (prompt, options.completion, generations), MODEL["vocab_size"]
            )
            rows.append(_measure(spec, options.repeats))
            print(_line(rows[-1]), flush=True)
    except sides.Failed as error:
        sys.exit(f"train_scaling: {error}")
    fits = {part: fit([r["tokens"] for r in rows], [r[part] for r in rows]) for part in PARTS}
    for part, found in fits.items():
        print("{:<9} = {a:7.3f} s + {b_ms:7.4f} ms per token, R^2 = {r2:.4f}".format(part, **found))
    sides.write_json(options.json, {"rows": rows, "fits": fits})
    if options.plot:
        _plot(options.plot, rows)


def fit(tokens: list[int], seconds: list[float]) -> dict[str, float]:
    """Least squares of seconds = a + b * tokens: a in s, b in ms, and the share explained."""
    slope, intercept = statistics.linear_regression(tokens, seconds)
    explained = statistics.correlation(tokens, seconds) ** 2
    return {"a": round(intercept, 4), "b_ms": round(1000 * slope, 5), "r2": round(explained, 5)}


def _measure(spec: Spec, repeats: int) -> dict[str, object]:
    results = [sides.measure(sys.executable, "ours_side.py", spec) for _ in range(repeats)]
    middle = sides.medians(results)
    tokens = spec.prompts * (spec.prompt + spec.generations * spec.completion)
    kept = {part: round(middle[part], 4) for part in (*PARTS, "rss_mb")}
    return {"shape": spec.shape, "tokens": tokens, **kept}


def _line(row: dict) -> str:
    shape = "{P:>5} {C:>3} {G:>3}".format(**row["shape"])
    times = " ".join(f"{row[part]:>8.2f}" for part in PARTS)
    return f"{shape} {row['tokens']:>7}  {times} {row['rss_mb']:>6.0f}"


def _plot(path: Path, rows: list[dict]) -> None:
    """Seconds over packed tokens, one dot per shape, as an SVG file."""
    width, height, margin = 640, 400, 50
    most_x, most_y = (max(r[key] for r in rows) for key in ("tokens", "step_s"))
    dots = "".join(
        f'<circle r="4" cx="{margin + r["tokens"] / most_x * (width - 2 * margin):.1f}" '
        f'cy="{height - margin - r["step_s"] / most_y * (height - 2 * margin):.1f}">'
        f"<title>{_line(r)}</title></circle>"
        for r in rows
    )
    axes = (
        f'<path d="M{margin} {margin}V{height - margin}H{width - margin}" fill="none" '
        f'stroke="#888"/><text x="{width - margin}" y="{height - 20}" text-anchor="end">'
        f"P + G C, up to {most_x} tokens</text>"
        f'<text x="{margin}" y="30">seconds per step, up to {most_y:.1f}</text>'
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="14">{axes}{dots}</svg>\n',
        encoding="utf-8",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompt", type=int, action="append", help="P, repeatable")
    parser.add_argument("--generations", type=int, action="append", help="G, repeatable")
    parser.add_argument("--completion", type=int, default=COMPLETION, help="C")
    parser.add_argument("--plot", type=Path, help="draw the points into this SVG file")
    sides.add_options(parser)
    options = parser.parse_args()
    options.prompt = options.prompt or list(PROMPTS)
    options.generations = options.generations or list(GENERATIONS)
    if len(options.prompt) * len(options.generations) < 2:
        parser.error("a line needs two shapes or more; give another --prompt or --generations")
    return options


if __name__ == "__main__":
    main()
