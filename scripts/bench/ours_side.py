"""Train a few steps with edgetool and tell how long they took. A benchmark's child."""

from __future__ import annotations

from dataclasses import replace

import torch

from edgetool.calls.types import Example
from edgetool.rewards.scoring import Scored, WeightedReward
from edgetool.system import tune
from edgetool.train.grpo_step import Stepper
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import Row
from edgetool.train.settings import GRPOSettings, LoraSettings
from scripts.bench.sides import Spec, cap_memory, read_spec, reward_of, tell


def main() -> None:
    spec = read_spec()
    tune()  # as every command of ours does first
    cap_memory(spec)
    load = LoadSettings(
        load_in_4bit=spec.four_bit,
        bf16=spec.bf16,
        device=spec.device,
        attn_implementation=spec.attention,
        call_syntax="hermes",
        gradient_checkpointing=spec.checkpointing,
    )
    policy = load_policy(spec.model, LoraSettings(), load)
    policy.stop_ids = (-1,)  # completions of equal length, whatever the model says
    example = Example("bench", ({"role": "user", "content": ""},), (), ())
    rows = [Row(example, tuple(ids)) for ids in spec.prompt_ids()]
    stepper = ByText(policy, rows, [WeightedReward("none", 1.0, nothing)], settings_of(spec))
    steps = [stepper.run(step).metrics for step in range(1 + spec.steps)]
    tell(spec, [(step["rollout_time"], step["train_time"]) for step in steps])


class ByText(Stepper):
    """Judges and scores as ever, and then pays for the text, so that rewards differ."""

    def _roll_out(self, *arguments: object) -> RolloutBatch:
        sampled = super()._roll_out(*arguments)
        if self.policy.device.type == "cuda":
            torch.cuda.synchronize()
        return replace(sampled, scored=[_paid(g) for g in sampled.scored])


def _paid(group: list[Scored]) -> list[Scored]:
    return [Scored(s.text, s.verdict, s.scores, reward_of(s.text)) for s in group]


def nothing(parsed: object, example: object) -> float:
    return 0.0


def settings_of(spec: Spec) -> GRPOSettings:
    return GRPOSettings(
        num_generations=spec.generations,
        prompts_per_step=spec.prompts,
        max_completion_length=spec.completion,
        max_steps=1 + spec.steps,
        gradient_checkpointing=spec.checkpointing,
        loss_type="grpo",
        learning_rate=1e-6,
        bf16=spec.bf16,
    )


if __name__ == "__main__":
    main()
