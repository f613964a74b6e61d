"""One training step, taken apart: rollout, packed pass, and the same pass padded the usual way.

    python scripts/bench/train_pass.py models/nano
    python scripts/bench/train_pass.py models/nano --prompt 800 --completion 60 --prompts 4

Tokens are random and so is the outcome; only the time is looked at. The padded pass repeats the
prompt for each completion, as trainers without prefix sharing do. Medians of `--repeats` runs,
taken in turn.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

from edgetool.runtime import Sampling
from edgetool.system import peak_resident_mb
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.rollout import completion_seed, rollout
from edgetool.train.settings import GRPOSettings, LoraSettings
from edgetool.train.update import Batch, Update, make_optimizer


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    load = LoadSettings(gradient_checkpointing=options.checkpointing)
    policy = load_policy(options.model, LoraSettings(), load)
    policy.stop_ids = (-1,)  # completions of equal length, whatever the model says
    settings = GRPOSettings(learning_rate=1e-9, packed_tokens=options.packed_tokens)
    groups = _groups(policy, options)
    total = options.prompts * options.generations
    weights, advantages = torch.full((total,), 1e-4), torch.randn(total)
    optimizer = make_optimizer(policy, settings)

    def train(rows: list[Group]) -> None:
        Update(policy, Batch(rows, weights, advantages), settings, optimizer).run()

    packed, padded = groups, [alone for group in groups for alone in _alone(group)]
    parts: dict[str, Callable[[], object]] = {
        "rollout": lambda: _rollout(policy, groups, options),
        "packed pass": lambda: train(packed),
        "padded pass": lambda: train(padded),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for repeat in range(options.repeats + 1):  # the first warms up
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            if repeat:
                times[name].append(time.perf_counter() - started)
    _print(times, packed, padded)


def _groups(policy: Policy, options: argparse.Namespace) -> list[Group]:
    draw, size = random.Random(0), options.generations
    vocabulary = policy.causal.config.vocab_size

    def tokens(length: int) -> list[int]:
        jittered = max(1, round(length * draw.uniform(0.85, 1.15)))
        return [draw.randrange(vocabulary) for _ in range(jittered)]

    return [
        Group(
            tokens(options.prompt),
            [tokens(options.completion) for _ in range(size)],
            range(number * size, (number + 1) * size),
        )
        for number in range(options.prompts)
    ]


def _alone(group: Group) -> list[Group]:
    return [
        Group(group.prompt, [ids], [owner])
        for owner, ids in zip(group.owners, group.completions, strict=True)
    ]


def _rollout(policy: Policy, groups: list[Group], options: argparse.Namespace) -> None:
    sampling = Sampling(options.completion, temperature=1.0)
    seeds = [
        [completion_seed(prompt, g) for g in range(options.generations)]
        for prompt in range(len(groups))
    ]
    rollout(policy, [group.prompt for group in groups], sampling, seeds)


def _print(times: dict[str, list[float]], packed: list[Group], padded: list[Group]) -> None:
    medians = {name: statistics.median(values) for name, values in times.items()}
    tokens = {"packed pass": sum(map(len, packed)), "padded pass": sum(map(len, padded))}
    for name, seconds in medians.items():
        count = f"  {tokens[name]:>8} tokens" if name in tokens else ""
        print(f"{name:<12} {seconds:8.2f} s{count}")
    print(f"{'step':<12} {medians['rollout'] + medians['packed pass']:8.2f} s")
    print(f"padded / packed   {medians['padded pass'] / medians['packed pass']:.2f}")
    print(f"peak memory       {peak_resident_mb():.0f} MiB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=200, help="tokens, on average")
    parser.add_argument("--completion", type=int, default=45, help="tokens, on average")
    parser.add_argument("--packed-tokens", type=int, default=None)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
