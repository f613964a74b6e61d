"""Kill a training run again and again, resume it, and compare with the run nobody killed.

    python scripts/bench/crash.py --kills 60 --seed 0

A tiny random model trains with a checkpoint after every step and two iterations per rollout. A
child process is forked per life, so that the imports are paid once, and gets SIGKILL at a moment
drawn evenly from the time that four steps take; the next one resumes. Once a run is through, its
adapter must be the other's bit for bit and its metrics have each step once, and another run begins,
until there were enough kills. Exits 1 on any difference. What is tested is a killed process, not a
power cut: what it wrote before is still in the kernel's hands.
"""

from __future__ import annotations

import argparse
import collections
import json
import mmap
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # forking and thread pools do not mix
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from edgetool.calls.types import Example
from edgetool.rewards.scoring import WeightedReward
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings, LoraSettings
from scripts.bench import sides

MODEL = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=10,
    num_iterations=2,
    max_completion_length=12,
    learning_rate=1e-2,
    mask_truncated_completions=False,
    gradient_checkpointing=False,
    bf16=False,
    save_steps=1,
)
STEPS_A_LIFE = 4.0  # a kill comes within the time that so many steps take
STARTING, ROLLOUT, UPDATE, SAVE = "beginning or resuming", "rollout", "update", "save"
PHASES = (STARTING, ROLLOUT, UPDATE, SAVE)
FORK = multiprocessing.get_context("fork")


class Phase:
    """What a child is at, in memory that its parent sees; None before it trains."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 1)

    def set(self, name: str | None) -> None:
        self.shared[0] = 0 if name is None else 1 + PHASES.index(name)

    def get(self) -> str | None:
        return PHASES[self.shared[0] - 1] if self.shared[0] else None


class Watched(Policy):
    """A policy that says when it starts to write completions."""

    phase: Phase

    def decoding(self) -> Any:
        self.phase.set(ROLLOUT)
        return super().decoding()


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    model = sides.make_model(sides.BUILD / "qwen2-tiny", MODEL)
    policy = _policy(model)
    _first_adamw_step()

    _live(policy, folder / "whole").join()
    whole = _adapter(folder / "whole")
    if whole is None:
        sys.exit("crash: the run that nobody kills did not end")
    life = STEPS_A_LIFE * statistics.median(row["step_time"] for row in _metrics(folder / "whole"))
    sys.exit(_kill_and_resume(policy, folder, whole, life, options))


def _policy(model: Path) -> Watched:
    load = LoadSettings(
        device="cpu", bf16=False, call_syntax="hermes", gradient_checkpointing=False
    )
    plain = load_policy(model, LoraSettings(r=4), load)
    policy = Watched(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    policy.phase = Phase()
    return policy


def _first_adamw_step() -> None:
    """It imports 800 modules, which no life should spend its time on."""
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    torch.optim.AdamW([parameter]).step()


def _kill_and_resume(
    policy: Watched, folder: Path, whole: bytes, life: float, options: argparse.Namespace
) -> int:
    draw, fell = random.Random(options.seed), collections.Counter[str]()
    runs, differing = 0, 0
    while fell.total() < options.kills:
        run = folder / f"killed-{runs:03d}"
        while _adapter(run) is None:
            enough = fell.total() >= options.kills
            where = _one_life(policy, run, None if enough else draw.uniform(0, life))
            if where is not None:
                fell[where] += 1
        runs += 1
        problem = _problem(run, whole)
        print(
            f"{fell.total():>4} kills, {run.name}: {problem or 'the same, bit for bit'}", flush=True
        )
        differing += problem is not None
    places = ", ".join(f"{fell[phase]} during {phase}" for phase in PHASES)
    print(f"{fell.total()} kills in {runs} runs of {SETTINGS.max_steps} steps: {places}")
    print(f"{runs - differing} of {runs} runs ended like the one that nobody killed")
    result = {"kills": fell.total(), "runs": runs, "differing": differing, "during": dict(fell)}
    sides.write_json(options.json, result)
    return 1 if differing else 0


def _one_life(policy: Watched, run: Path, seconds: float | None) -> str | None:
    """Train until the end or the kill; returns what the child was at when it was killed.

    Raises SystemExit when it failed by itself.
    """
    child = _live(policy, run)
    if seconds is not None:
        while policy.phase.get() is None and child.is_alive():
            time.sleep(0.0005)
        child.join(seconds)
        child.kill()
    child.join()
    if child.exitcode == -signal.SIGKILL:
        return policy.phase.get()
    if child.exitcode != 0:
        raise SystemExit(f"crash: {run} failed with exit code {child.exitcode}, not by a kill")
    return None


def _live(policy: Watched, run: Path) -> Any:
    policy.phase.set(None)
    child = FORK.Process(target=_train, args=(policy, run))
    child.start()
    return child


def _train(policy: Watched, run: Path) -> None:
    """In a child: begin or resume a run."""
    phase, count = policy.phase, 0
    total = SETTINGS.prompts_per_step * SETTINGS.num_generations

    def reward(parsed: object, example: Example) -> float:
        # A random model calls nothing, so the place in the step decides; every life starts a step.
        nonlocal count
        phase.set(UPDATE)
        count += 1
        return random.Random(f"{example.id}/{count % total}").random()

    prompts = [" ".join(f"w{(7 * i + j) % 60 + 2}" for j in range(8 + i)) for i in range(5)]
    examples = [
        Example(str(i), ({"role": "user", "content": text},), (), ())
        for i, text in enumerate(prompts)
    ]
    phase.set(STARTING)
    train(
        policy,
        examples,
        [WeightedReward("place", 1.0, reward)],
        SETTINGS,
        run,
        resume=True,
        on_step=lambda _: phase.set(SAVE),
    )


def _adapter(run: Path) -> bytes | None:
    path = run / "adapter" / "adapter_model.safetensors"
    return path.read_bytes() if path.exists() else None


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _problem(run: Path, whole: bytes) -> str | None:
    if _adapter(run) != whole:
        return "another adapter"
    steps = [row["step"] for row in _metrics(run)]
    if steps != list(range(1, SETTINGS.max_steps + 1)):
        return f"metrics of steps {steps}"
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=sides.BUILD / "crash", help="is emptied")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
