"""`edgetool train`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from edgetool import rewards
from edgetool.allocator import keep_freed_memory
from edgetool.catalogue import locate
from edgetool.config import Config
from edgetool.data import sources
from edgetool.export.plan import check_exportable
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.loop import TrainResult, train
from edgetool.train.panel import Panel
from edgetool.train.policy import Policy
from edgetool.train.ranks import joined
from edgetool.train.scoring import WeightedReward
from edgetool.verbs.run_folder import RunFolder


def run_training(config: Config, console: Console, *, resume: bool = False) -> TrainResult:
    """Check everything that can be checked cheaply, then load the model and train.

    Under torchrun every rank does this, and the first one speaks and writes.
    """
    keep_freed_memory()
    base = str(check_exportable(locate(config.model)))
    examples = sources.load(config.data.train, "train", config.data.train_rows)
    weighted = [
        WeightedReward(name, weight, rewards.get(name)) for name, weight in config.rewards.items()
    ]
    output_dir = Path(config.output_dir)
    with joined() as ranks:
        console.quiet = not ranks.first
        device = ranks.device if ranks.size > 1 else None
        policy = load_policy(base, config.lora, _loading(config, device))
        if ranks.first:
            RunFolder.create(config, base, policy_dtype(policy))
        with Panel(console, config.grpo.logging_steps) as panel:
            result = train(
                policy,
                examples,
                weighted,
                config.grpo,
                output_dir,
                resume=resume,
                on_step=panel.show,
                on_note=panel.note,
                ranks=ranks,
            )
    _say_how_it_ended(result, output_dir, console)
    return result


def open_policy(run: RunFolder, *, trained: bool) -> Policy:
    """The policy of a run: its base in 4 bits, with the adapter or without."""
    adapter = run.adapter if trained else None
    return load_policy(run.facts["base"], None, _loading(run.config), adapter=adapter)


def policy_dtype(policy: Policy) -> str:
    """The dtype the policy computes in, by the name export knows it by."""
    return str(policy.causal.dtype).removeprefix("torch.")


def _loading(config: Config, device: str | None = None) -> LoadSettings:
    return LoadSettings(
        load_in_4bit=config.load_in_4bit,
        bf16=config.grpo.bf16,
        device=device,
        call_syntax=config.call_syntax,
        gradient_checkpointing=config.grpo.gradient_checkpointing,
        seed=config.grpo.seed,
    )


def _say_how_it_ended(result: TrainResult, path: Path, console: Console) -> None:
    if result.interrupted:
        again = f"edgetool train --config {path}/config.yaml --resume"
        console.print(f"stopped after step {result.steps} and saved; go on with: {again}")
    else:
        console.print(f"trained {result.steps} steps; next: edgetool export {path} --gguf")
