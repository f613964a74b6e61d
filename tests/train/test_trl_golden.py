"""What TRL 1.16.0 made of fixed completions and rewards, and what we make of them.

scripts/golden/trl_grpo_step.py wrote golden/trl with TRL's own trainer. Everything from rewards to
gradient is compared: advantages, masks, weights, packing, log-probabilities, clipping, KL, loss.
The first of two iterations stands on the old policy, the second where the adapter was put, so that
some ratios are beyond the clip range.

Where the two differ by convention, and so nothing is compared:

- TRL calls a completion cut when its last token is no stop token; our rollout says so itself.
- A completion without a reward keeps its place in TRL's token count (dapo, bnpo, cispo) and its KL
  term; ours is dropped, since only a failing reward function leaves one without.
- TRL counts clipped completions at importance_sampling_level "sequence", and we their tokens.
- A step of ours is a rollout with all its iterations; TRL counts each iteration as one, and its
  schedules move between them. TRL's linear warm-up starts with a step at a rate of 0.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgetool.calls.judge.match import Verdict
from edgetool.calls.types import Example
from edgetool.rewards.scoring import Scored
from edgetool.train import attention, grpo_loss
from edgetool.train.grpo_step import Stepper
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import Row
from edgetool.train.settings import GRPOSettings

GOLDEN = Path(__file__).parent / "golden" / "trl"
RECORD = json.loads((GOLDEN / "record.json").read_text(encoding="utf-8"))
CASES = RECORD["cases"]
GRADIENTS = load_file(GOLDEN / "gradients.safetensors")
# float32 on both sides, summed in another order: one row per group here, padded rows there.
TOLERANCE = 1e-5


@pytest.fixture
def policy() -> Policy:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    attention.register()
    causal = AutoModelForCausalLM.from_pretrained(
        GOLDEN, dtype=torch.float32, attn_implementation=attention.NAME
    )
    lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    adapter = get_peft_model(causal, lora)
    policy = Policy("golden", causal, None, None, (RECORD["stop"],), torch.device("cpu"), adapter)
    put(policy, "old")
    return policy


def put(policy: Policy, place: str) -> None:
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(policy.adapter, load_file(GOLDEN / f"adapter_{place}.safetensors"))


class Recorded(Stepper):
    """A step whose rollout is the recorded one."""

    def __init__(self, policy: Policy, case: dict[str, Any]) -> None:
        super().__init__(policy, [], [], GRPOSettings(**case["settings"]))
        self.case = case

    def _sample(self, step: int) -> RolloutBatch:
        written = [
            [RolloutCompletion(tuple(ids), "", ids[-1] == RECORD["stop"], ()) for ids in group]
            for group in RECORD["completions"]
        ]
        unread = Verdict(False, False, False, 0, 0.0, 0, 0, False)
        scored = [
            [Scored("", unread, (), reward) for reward in group]
            for group in rewards_of(self.case).tolist()
        ]
        rows = [Row(Example(str(n), (), (), ()), p) for n, p in enumerate(RECORD["prompts"])]
        return RolloutBatch.of(rows, written, scored)


class Jump(torch.optim.Optimizer):
    """Keeps each iteration's gradient and puts the adapter in its next recorded place."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.trainable().values(), {"lr": 1.0})
        self.policy, self.seen = policy, list[Tensor]()

    def step(self, closure: None = None) -> None:
        self.seen.append(flat({name: p.grad for name, p in self.policy.trainable().items()}))
        put(self.policy, "new")


def rewards_of(case: dict[str, Any]) -> Tensor:
    return torch.tensor([[math.nan if r is None else r for r in g] for g in case["rewards"]])


def flat(tensors: dict[str, Any]) -> Tensor:
    return torch.cat([tensors[name].detach().flatten() for name in sorted(tensors)])


def apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", CASES)
def test_advantages_are_trl_s(name: str) -> None:
    case = CASES[name]
    ours = grpo_loss.advantages(rewards_of(case), case["settings"].get("scale_rewards", "group"))
    assert ours.flatten().tolist() == pytest.approx(case["advantages"], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_a_step_s_loss_and_gradients_are_trl_s(policy: Policy, name: str) -> None:
    stepper = Recorded(policy, CASES[name])
    stepper.optimizer = jump = Jump(policy)
    metrics = stepper.run(0).metrics
    # a loss is a small difference of terms near 1, whose rounding is 6e-8 and the CPU's own
    assert metrics["loss"] == pytest.approx(sum(CASES[name]["losses"]) / 2, rel=1e-5, abs=3e-7)
    for iteration, ours in enumerate(jump.seen):
        theirs = GRADIENTS.get(f"{name}/{iteration}")
        if theirs is not None:
            assert apart(ours, theirs) < TOLERANCE, f"iteration {iteration}"


@pytest.mark.parametrize("name", [name for name in CASES if "beta" in CASES[name]["settings"]])
def test_kl_entropy_and_clip_ratios_are_trl_s(policy: Policy, name: str) -> None:
    """Where beta > 0, so that both trainers have seen the tokens of the group of equal rewards."""
    measured = dict(CASES[name]["measured"])
    if CASES[name]["settings"].get("importance_sampling_level") == "sequence":
        measured = {key: means for key, means in measured.items() if "clip" not in key}
    stepper = Recorded(policy, CASES[name])
    stepper.optimizer = Jump(policy)
    found = stepper.run(0).metrics
    # TRL has a mean per iteration over the same tokens; log_history keeps four digits of it.
    for key, means in measured.items():
        assert found[key] == pytest.approx(sum(means) / 2, rel=1e-3), key


def test_four_steps_of_adamw_leave_trl_s_adapter(policy: Policy) -> None:
    """With clipped gradients, weight decay and a schedule."""
    stepper = Recorded(policy, RECORD["trained"])
    before = flat(policy.trainable())
    losses = [stepper.run(step).metrics["loss"] for step in range(4)]
    assert losses == pytest.approx(RECORD["trained"]["losses"], rel=1e-4, abs=1e-6)
    moved, theirs = flat(policy.trainable()) - before, GRADIENTS["trained"] - before
    # AdamW divides by the gradient's own size, so rounding in its smallest entries is magnified.
    assert apart(moved, theirs) < 1e-4
