"""GRPO on a small GPU: peak memory and tokens per second, ours, TRL's and Unsloth's.

Ours twice, with SDPA and with FlexAttention.

    python scripts/bench/gpu_grpo.py --json build/gpu.json
    python scripts/bench/gpu_grpo.py --model Qwen3-0.6B --cap 8 --side ours --side trl
    python scripts/bench/gpu_grpo.py --device cpu --tiny          # does it run at all?

Models have their cards' shapes and random weights in NF4; LoRA on all linear layers, bfloat16,
gradient checkpointing, one prompt of P tokens with G completions of exactly C tokens. torch is held
to each `--cap` as if the card had no more. Rivals live in venvs of their own under build/bench.
What fails, out of memory or at installation, is a row that says how, and the rest goes on.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgetool import catalogue
from scripts.bench import sides
from scripts.bench.sides import Spec

PROMPT, COMPLETION, GENERATIONS, CAPS_GIB = 1024, 256, 8, (8.0, 12.0)
TIMEOUT_S = 3600.0


MODELS = ("Qwen2.5-0.5B-Instruct", "Qwen2.5-1.5B-Instruct", "Qwen2.5-3B-Instruct")
TINY = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}

# The child script of each side, and how to get the Python that runs it.
SIDES: dict[str, tuple[str, Callable[[], str]]] = {
    "ours": ("ours_side.py", lambda: sys.executable),
    "ours-flex": ("ours_side.py", lambda: sys.executable),
    "trl": ("trl_side.py", lambda: sides.rival_python("trl", sides.TORCH, *sides.TRL)),
    "unsloth": ("unsloth_side.py", lambda: sides.rival_python("unsloth", "unsloth")),
}


def main() -> None:
    options = _options()
    if options.device == "cuda" and not _cuda_works():
        sys.exit(
            "gpu_grpo: this Python's torch finds no CUDA GPU; run it on a machine with one, or try "
            "`--device cpu --tiny`"
        )
    models = {"tiny": TINY} if options.tiny else {name: _shape(name) for name in options.model}
    caps = options.cap if options.device == "cuda" else [None]
    rows = []
    for (name, config), cap in itertools.product(models.items(), caps):
        model = sides.make_model(sides.BUILD / name, config)
        spec = _spec(str(model), config, cap, options)
        for side in options.side:
            rows.append({"model": name, "cap_gib": cap, "side": side, **_attempt(side, spec)})
            print(_line(rows[-1]), flush=True)
            sides.write_json(options.json, rows)


def _shape(name: str) -> dict[str, Any]:
    return {**(catalogue.get(name).shape or {}), "dtype": "bfloat16"}


def _spec(model: str, config: dict[str, Any], cap: float | None, options: Any) -> Spec:
    return Spec(
        model,
        32 if options.tiny else PROMPT,
        8 if options.tiny else COMPLETION,
        4 if options.tiny else GENERATIONS,
        steps=options.steps,
        checkpointing=True,
        four_bit=True,
        bf16=True,
        device=options.device,
        memory_gib=cap,
        vocabulary=config["vocab_size"],
    )


def _attempt(side: str, spec: Spec) -> dict[str, Any]:
    script, python = SIDES[side]
    if side == "ours-flex":
        spec = replace(spec, attention="flex_attention")
    try:
        result = sides.measure(python(), script, spec, TIMEOUT_S)
    except sides.Failed as error:
        return {"shape": spec.shape, "failed": str(error)}
    return {"shape": spec.shape, **{key: round(value, 3) for key, value in result.items()}}


def _line(row: dict[str, Any]) -> str:
    cap = "no cap" if row["cap_gib"] is None else f"{row['cap_gib']:g} GiB"
    start = f"{row['model']:>22} {cap:>7} {row['side']:>8}"
    if "failed" in row:
        return f"{start}  failed: {row['failed']}"
    return (
        f"{start}  step {row['step_s']:8.2f} s, GPU {row['device_mb']:7.0f} MiB, "
        f"RAM {row['rss_mb']:6.0f} MiB, rollout {row['rollout_tokens_per_s']:7.0f} tokens/s, "
        f"training {row['train_tokens_per_s']:7.0f} tokens/s"
    )


def _cuda_works() -> bool:
    """Asked in a child, so that this process holds no memory of the GPU."""
    question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", action="append", help="a card's name; repeatable")
    parser.add_argument("--cap", type=float, action="append", metavar="GIB", help="repeatable")
    parser.add_argument("--side", action="append", choices=SIDES, help="repeatable")
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after a warm-up")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and shape")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    options.model = options.model or list(MODELS)
    options.cap = options.cap or list(CAPS_GIB)
    options.side = options.side or list(SIDES)
    return options


if __name__ == "__main__":
    main()
