"""Rollouts by torch against llama.cpp: tokens a second, and how far the engine is from the trainer.

    python scripts/bench/rollout.py                        # all
    python scripts/bench/rollout.py --model nano --repeats 1 --json build/rollout.json

B prompts with G completions of exactly C tokens each, the adapter not zero. The engines write in
turn, each `repeats` times after a first time that does not count; figures are medians. Seconds
include what llama.cpp needs to take the step's adapter. mean |Δ| is of the log-probabilities that
the engine says it drew with, against the training pass over the same tokens; KL and ratio are what
training shows of them. SmolLM2 is what `scripts/real_model smollm2` fetches, and smollm2.gguf its
file as it is. The 0.5B shape has random weights and is not rounded to 4 bits; its distances mean
little.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from edgetool.catalogue import locate
from edgetool.data import demo
from edgetool.runtime import Sampling
from edgetool.system import machine, tune, versions
from edgetool.train import grpo_loss
from edgetool.train.engines import RolloutEngine, Rollouts, open_engine
from edgetool.train.gradient import packed
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.rollout import completion_seed
from edgetool.train.settings import ENGINE_CAP, LoraSettings, RolloutSettings
from edgetool.train.update import completion_logps
from scripts.bench import sides

SMOLLM2 = sides.ROOT / "build" / "real_models" / "smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHAPE = {  # Qwen2.5-0.5B
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
RANDOM, GGUF = "0.5b", "smollm2.gguf"
MODELS = ("nano", "smollm2", GGUF, RANDOM)
TORCH = "torch"
ENGINES = (TORCH, "F16", "BF16", "Q8_0", "Q4_K_M")  # llama.cpp's by the type of its file
GENERATIONS, COMPLETION, PROMPT = 8, 48, 400
OWN = "its own"  # the base is a file, and llama.cpp has the same
PROMPTS = {"nano": 4}  # others have one
DEVIATION = 0.01  # B of the adapter is drawn with it, as after some steps


def main() -> None:
    options = _options()
    tune()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    rows = []
    print(_HEAD, flush=True)
    for name in options.model or MODELS:
        for row in measure(name, options):
            rows.append(row)
            print(_line(row), flush=True)
            found = {"rows": rows, "machine": machine(), "versions": versions()}
            sides.write_json(options.json, found)


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each engine."""
    settings = LoadSettings(load_in_4bit=name != RANDOM, bf16=options.bf16)
    policy = load_policy(_folder(name), LoraSettings(), settings)
    policy.stop_ids = ()
    _stir(policy)
    prompts = _prompts(policy, name)
    seeds = [[completion_seed(0, p, g) for g in range(GENERATIONS)] for p in range(len(prompts))]
    kinds = (TORCH, OWN) if name == GGUF else ENGINES
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    distances: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        engines = {
            kind: _opened(policy, kind, prompts, Path(work) / kind, settings.load_in_4bit)
            for kind in kinds
        }
        for repeat in range(options.repeats + 1):
            for kind, engine in engines.items():
                started = time.perf_counter()
                engine.load_adapter()
                written = engine.write(prompts, Sampling(COMPLETION, 1.0), seeds, lambda _: None)
                if repeat:
                    spent[kind].append(time.perf_counter() - started)
                else:
                    distances[kind] = _distance(policy, prompts, written)
        for engine in engines.values():
            engine.close()
    about = {
        "model": name,
        "dtype": str(policy.causal.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "shape": {"P": [*map(len, prompts)], "G": GENERATIONS, "C": COMPLETION},
    }
    tokens = sum(map(len, seeds)) * COMPLETION
    return [
        {**about, "engine": kind, **_speed(spent[kind], tokens), **distances[kind]}
        for kind in kinds
    ]


def _speed(seconds: Sequence[float], tokens: int) -> dict[str, Any]:
    middle = statistics.median(seconds)
    return {
        "seconds": round(middle, 3),
        "all_seconds": [round(value, 3) for value in seconds],
        "tokens_per_second": round(tokens / middle, 1),
    }


def _opened(
    policy: Policy,
    kind: str,
    prompts: Sequence[Sequence[int]],
    folder: Path,
    load_in_4bit: bool,
) -> RolloutEngine:
    """torch, or llama.cpp with the policy's base in a file of this type."""
    made = None if kind == OWN else kind
    settings = RolloutSettings() if kind == TORCH else RolloutSettings("llama", gguf_type=made)
    tokens = max(map(len, prompts)) + COMPLETION
    rollouts = Rollouts(folder, tokens, len(prompts) * GENERATIONS, load_in_4bit)
    return open_engine(policy, settings, rollouts)


def _distance(
    policy: Policy, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[Any]]
) -> dict[str, float]:
    """From the log-probabilities an engine gave to the training pass's, over the same tokens."""
    ours, theirs = [], []
    for prompt, group in zip(prompts, written, strict=True):
        completions = [one.token_ids for one in group]
        batch = packed(policy, [Group(prompt, completions, range(len(group)))])
        with torch.no_grad():
            logps, _ = completion_logps(policy.network, batch, 1.0)
        table = torch.tensor([one.logprobs for one in group])  # [G, C]
        ours.append(logps)
        theirs.append(table[batch.owners, batch.offsets])
    old, sampled = torch.cat(ours), torch.cat(theirs)
    return {
        "mean_abs_difference": float((old - sampled).abs().mean()),
        "largest_difference": float((old - sampled).abs().max()),
        "kl": float(grpo_loss.k3(sampled, old).mean()),
        "ratio": float(grpo_loss.truncated_ratios(old, sampled, ENGINE_CAP).mean()),
    }


def _folder(name: str) -> Path:
    if name == "nano":
        return Path(locate("nano"))
    if name in ("smollm2", GGUF):
        if not SMOLLM2.is_dir():
            sys.exit("rollout: type `scripts/real_model smollm2` first")
        return SMOLLM2 / (SMOLLM2_FILE if name == GGUF else "model")
    return sides.make_model(sides.BUILD / "qwen2-0.5b", SHAPE, Path(locate("nano")))


def _prompts(policy: Policy, name: str) -> list[list[int]]:
    """Rows of the demo as the model's template shows them; random ids for random weights."""
    count = PROMPTS.get(name, 1)
    if name == RANDOM:
        rng = random.Random(0)
        return [rng.choices(range(10, SHAPE["vocab_size"]), k=PROMPT) for _ in range(count)]
    rows = demo.examples("validation", count)
    return [list(policy.prompter.ids(row.messages, row.tools)) for row in rows]


def _stir(policy: Policy) -> None:
    """An adapter that does something: B is zero at first."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, matrix in policy.trainable().items():
            if "lora_B" in name:
                matrix.copy_(torch.randn(matrix.shape, generator=generator) * DEVIATION)


_HEAD = "model        engine  dtype     prompt     s  token/s  mean |delta|       KL   ratio"


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:<12} {row['engine']:<7} {row['dtype']:<8} {sum(row['shape']['P']):>7} "
        f"{row['seconds']:>5.2f} {row['tokens_per_second']:>8.1f} "
        f"{row['mean_abs_difference']:>13.5f} {row['kl']:>8.5f} {row['ratio']:>7.4f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="else as train does")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
