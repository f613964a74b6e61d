"""Planned memory against measured memory, for models of the cards' shapes with random weights.

    python scripts/bench/plan_memory.py --device cpu --json scripts/bench/measured/plan_cpu.json
    python scripts/bench/plan_memory.py --json scripts/bench/measured/plan_gpu.json    # needs a GPU

NF4 with LoRA on all linear layers, gradient checkpointing, prompts of P tokens with G completions
of exactly C. On a CPU what counts is the memory that is resident during the steps, the interpreter
included; on a GPU what torch has allocated. Loading is left out: it is over when training starts.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgetool import catalogue
from scripts.bench import sides
from scripts.bench.sides import Spec

# P, C, G, B
GPU_SETTINGS = ((1024, 256, 8, 1), (2048, 512, 8, 2))
CPU_SETTINGS = ((256, 32, 4, 1), (512, 48, 4, 1))
GPU_MODELS = ("Qwen2.5-0.5B-Instruct", "Qwen2.5-1.5B-Instruct", "Qwen2.5-3B-Instruct")
CPU_MODELS = ("nano", "Qwen2.5-0.5B-Instruct")


def main() -> None:
    options = _options()
    on_cpu = options.device == "cpu"
    models = options.model or (CPU_MODELS if on_cpu else GPU_MODELS)
    rows = []
    for name, size in itertools.product(models, CPU_SETTINGS if on_cpu else GPU_SETTINGS):
        rows.append(_row(catalogue.get(name), size, options.device))
        print(_line(rows[-1]), flush=True)
        sides.write_json(options.json, rows)


def _row(card: catalogue.Card, size: tuple[int, int, int, int], device: str) -> dict[str, Any]:
    shape = dict(card.shape or {})
    # Small weights on disk: they are drawn at random and quantized anyway.
    folder = sides.make_model(sides.BUILD / card.name, {**shape, "dtype": "bfloat16"})
    prompt, completion, generations, prompts = size
    spec = Spec(
        str(folder),
        prompt,
        completion,
        generations,
        prompts=prompts,
        checkpointing=True,
        four_bit=True,
        bf16=device != "cpu",
        device=device,
        vocabulary=shape["vocab_size"],
    )
    told = {"model": card.name, **spec.shape, "B": prompts, "device": _device(device)}
    told["date"] = datetime.date.today().isoformat()
    try:
        result: Any = sides.measure(sys.executable, "plan_side.py", spec)
    except sides.Failed as error:
        return {**told, "failed": str(error)}
    ratio = result["planned_mb"] / result["measured_mb"]
    measured = round(result["measured_mb"])
    return {**told, **result, "measured_mb": measured, "ratio": round(ratio, 3)}


def _line(row: dict[str, Any]) -> str:
    start = f"{row['model']:>24} P {row['P']} C {row['C']} G {row['G']} B {row['B']}"
    if "failed" in row:
        return f"{start}  failed: {row['failed']}"
    return (
        f"{start}  planned {row['planned_mb']:6} MiB, measured {row['measured_mb']:6} MiB, "
        f"ratio {row['ratio']:.3f}"
    )


def _device(device: str) -> str:
    if device == "cpu":
        return f"CPU, {platform.machine()}"
    import torch

    return torch.cuda.get_device_name(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model", action="append", help="a card's name; repeatable")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
