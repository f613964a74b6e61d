"""A whole training step, ours against TRL's: seconds, their parts, and peak memory.

    python scripts/bench/train_step.py
    python scripts/bench/train_step.py --shape 200,60,4 --repeats 1 --json build/step.json

Both sides train LoRA on all linear layers of the same random Qwen2 of 27 million parameters, in
float32, on the same prompts of P tokens with G completions of exactly C tokens each. Each run is a
process of its own, ours and TRL's in turn, its first step a warm-up; figures are medians. TRL gets
a venv under build/bench, installed by pip the first time. ratio is TRL's over ours.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench import sides
from scripts.bench.sides import Spec

PROMPTS, COMPLETION, GENERATIONS = (200, 800, 2000), 60, (4, 8, 16)
MODEL = {
    "vocab_size": 6144,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
PARTS = ("step_s", "rollout_s", "train_s", "rss_mb")


def main() -> None:
    options = _options()
    model = str(sides.make_model(sides.BUILD / "qwen2-27m", MODEL))
    try:
        trl = sides.rival_python("trl", sides.TORCH, *sides.TRL)
        rows = []
        print(_HEAD, flush=True)
        for shape in options.shape:
            spec = sides.spec_of(options, model, shape, MODEL["vocab_size"])
            rows.append(_compare(spec, trl, options.repeats))
            print(_line(rows[-1]), flush=True)
            sides.write_json(options.json, rows)
    except sides.Failed as error:
        sys.exit(f"train_step: {error}")


def _compare(spec: Spec, trl: str, repeats: int) -> dict[str, Any]:
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(sides.measure(sys.executable, "ours_side.py", spec))
        theirs.append(sides.measure(trl, "trl_side.py", spec))
    row: dict[str, Any] = {"shape": spec.shape}
    for side, results in (("ours", ours), ("trl", theirs)):
        middle = sides.medians(results)
        row |= {f"{side}_{'s' if p == 'step_s' else p}": round(middle[p], 4) for p in PARTS}
    row |= {
        "ratio": round(row["trl_s"] / row["ours_s"], 3),
        "rollout_ratio": round(row["trl_rollout_s"] / row["ours_rollout_s"], 3),
        "train_ratio": round(row["trl_train_s"] / row["ours_train_s"], 3),
        "settings": {
            "prompts": spec.prompts,
            "repeats": repeats,
            "steps": spec.steps,
            "threads": spec.threads,
            "checkpointing": spec.checkpointing,
        },
    }
    return row


_HEAD = (
    "    P   C   G |  step s: ours    TRL ratio | rollout: ours    TRL ratio |"
    " train: ours    TRL ratio | MiB: ours   TRL"
)


def _line(row: dict[str, Any]) -> str:
    def three(part: str, width: int) -> str:
        ours, trl = row[f"ours_{part}s"], row[f"trl_{part}s"]
        return f"{ours:>{width}.2f} {trl:>6.2f} {row[f'{part}ratio']:>5.2f}"

    shape = "{P:>5} {C:>3} {G:>3}".format(**row["shape"])
    memory = f"{row['ours_rss_mb']:>9.0f} {row['trl_rss_mb']:>5.0f}"
    return f"{shape} | {three('', 13)} | {three('rollout_', 13)} | {three('train_', 11)} | {memory}"


def _shape(text: str) -> tuple[int, int, int]:
    prompt, completion, generations = map(int, text.split(","))
    return prompt, completion, generations


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=_shape, action="append", metavar="P,C,G")
    sides.add_options(parser)
    options = parser.parse_args()
    options.shape = options.shape or [
        (prompt, COMPLETION, generations)
        for prompt, generations in itertools.product(PROMPTS, GENERATIONS)
    ]
    return options


if __name__ == "__main__":
    main()
