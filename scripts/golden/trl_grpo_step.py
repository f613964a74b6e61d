"""Record what TRL's GRPOTrainer makes of fixed completions and rewards: tests/train/golden/trl.

    python -m venv build/golden && build/golden/bin/pip install torch==2.13.0
    build/golden/bin/pip install trl==1.16.0 peft transformers datasets
    build/golden/bin/python scripts/golden/trl_grpo_step.py

It runs in a venv of TRL's own and imports nothing of edgetool. `trainer.train()` does all the work;
what is ours is a rollout that hands out the recorded completions, a reward function that hands out
the recorded rewards, and an optimizer that writes the gradient down and moves the adapter from one
recorded place to another, so that the second iteration's ratios of new to old probability straddle
the clip range. tests/train/test_trl_golden.py feeds the same to edgetool.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from trl import GRPOConfig, GRPOTrainer

OUT = Path(__file__).resolve().parents[2] / "tests" / "train" / "golden" / "trl"

VOCABULARY, PAD, STOP = 48, 0, 1
MAX_LENGTH, GROUP = 8, 4
PROMPT_LENGTHS = (3, 9, 5)
# How long each completion is, and whether the stop token ends it. The first group has one that was
# cut, the second has one left when cut ones are masked.
COMPLETIONS = (
    ((4, True), (8, False), (1, True), (6, True)),
    ((8, False), (7, True), (8, False), (8, False)),
    ((3, True), (2, True), (8, True), (5, True)),
)
REWARDS = [[1.0, 0.25, 0.0, 0.75], [0.5, 1.0, 0.0, 0.125], [0.5, 0.5, 0.5, 0.5]]
ONE_UNSCORED = [[1.0, None, 0.0, 0.75], *REWARDS[1:]]
# Shared by all cases, under the names GRPOConfig and GRPOSettings both have.
COMMON = {
    "num_generations": GROUP,
    "num_iterations": 2,
    "max_completion_length": MAX_LENGTH,
    "temperature": 0.9,
    "epsilon": 0.1,
    "epsilon_high": 0.15,
    "max_grad_norm": 1e9,
}
CASES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "bnpo": {"loss_type": "bnpo", "scale_rewards": "batch"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.2},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "cispo_sequence": {
        "loss_type": "cispo",
        "epsilon_high": 1.05,
        "importance_sampling_level": "sequence",
    },
    "grpo_kl": {"loss_type": "grpo", "beta": 0.2},
    "grpo_plain_kl": {"loss_type": "grpo", "beta": 0.2, "use_bias_correction_kl": False},
    "gspo_kl": {"loss_type": "grpo", "beta": 0.2, "importance_sampling_level": "sequence"},
    "cispo_kl": {"loss_type": "cispo", "beta": 0.2, "epsilon_high": 1.2},
    "grpo_masked": {"loss_type": "grpo", "mask_truncated_completions": True},
    "dapo_masked_kl": {"loss_type": "dapo", "mask_truncated_completions": True, "beta": 0.2},
    "grpo_unscored": {"loss_type": "grpo"},
    "batch_unscored": {"loss_type": "grpo", "scale_rewards": "batch"},
}
# A real optimizer instead: AdamW, clipped gradients, weight decay and a schedule.
TRAINED = {
    "loss_type": "dapo",
    "num_iterations": 1,
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "max_steps": 4,
    "max_grad_norm": 0.05,
    "weight_decay": 0.1,
}


class Jump(torch.optim.Optimizer):
    """Keeps each step's gradient and puts the adapter in its next recorded place."""

    def __init__(self, model: Any, place: dict[str, Tensor]) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], {"lr": 1.0})
        self.model, self.place, self.seen = model, place, []

    def step(self, closure: None = None) -> None:
        grads = {name: p.grad.clone() for name, p in trainable(self.model).items()}
        self.seen.append(flat(grads))
        set_peft_model_state_dict(self.model, self.place)


class Watched(GRPOTrainer):
    """TRL's trainer, its losses written down."""

    def compute_loss(self, *args: Any, **options: Any) -> Tensor:
        loss = super().compute_loss(*args, **options)
        self.losses = [*getattr(self, "losses", []), loss.item()]
        return loss


def main() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    OUT.mkdir(parents=True, exist_ok=True)
    tokens = draw_tokens()
    make_weights()
    cases, gradients = {}, {}
    for name, settings in CASES.items():
        rewards = ONE_UNSCORED if name.endswith("unscored") else REWARDS
        trainer = run({**COMMON, **settings, "max_steps": 2}, tokens, rewards, jump=True)
        cases[name] = {
            "settings": {**COMMON, **settings},
            "rewards": rewards,
            "advantages": list(trainer._logs["advantages"]),
            "losses": trainer.losses,
            "measured": measured(trainer.state.log_history),
        }
        gradients[f"{name}/1"] = trainer.seen[1]
        if name == "grpo_kl":
            gradients[f"{name}/0"] = trainer.seen[0]
    trainer = run({**COMMON, **TRAINED}, tokens, REWARDS, jump=False)
    trained = {"settings": {**COMMON, **TRAINED}, "rewards": REWARDS, "losses": trainer.losses}
    gradients["trained"] = flat(trainable(trainer.model))
    save_file(gradients, OUT / "gradients.safetensors")
    import peft
    import transformers
    import trl

    versions = {m.__name__: m.__version__ for m in (trl, transformers, peft, torch)}
    record = {"versions": versions, **tokens, "stop": STOP, "cases": cases, "trained": trained}
    (OUT / "record.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def draw_tokens() -> dict[str, Any]:
    draw = random.Random(0)

    def some(count: int) -> list[int]:
        return [draw.randrange(STOP + 1, VOCABULARY) for _ in range(count)]

    return {
        "prompts": [some(length) for length in PROMPT_LENGTHS],
        "completions": [
            [[*some(n - 1), STOP] if ended else some(n) for n, ended in group]
            for group in COMPLETIONS
        ],
    }


def make_weights() -> None:
    """A base whose weights bfloat16 holds exactly, and two places of its adapter."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,  # large enough for probabilities to differ
        eos_token_id=STOP,
        pad_token_id=PAD,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(config).to(torch.bfloat16)
    base.save_pretrained(OUT)
    model = get_peft_model(load_base(), lora())
    for place, scale in (("old", 0.1), ("new", 0.03)):
        with torch.no_grad():
            for name, p in trainable(model).items():
                if place == "new" or "lora_B" in name:
                    p.add_(torch.randn_like(p) * scale)
        save_file(
            {k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()},
            OUT / f"adapter_{place}.safetensors",
        )


def load_base() -> Any:
    return AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32)


def lora() -> LoraConfig:
    return LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")


def trainable(model: Any) -> dict[str, Tensor]:
    return {n: p for n, p in sorted(model.named_parameters()) if p.requires_grad}


def flat(tensors: dict[str, Tensor]) -> Tensor:
    """All in one vector, in the order of their names."""
    return torch.cat([tensors[name].detach().flatten() for name in sorted(tensors)])


def run(
    settings: dict[str, Any], tokens: dict[str, Any], rewards: Sequence[Any], *, jump: bool
) -> Any:
    total = len(PROMPT_LENGTHS) * GROUP

    def rollout(prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        numbers = [int(prompt) for prompt in prompts]
        places = [(n, i % GROUP) for i, n in enumerate(numbers)]  # a prompt's rows are neighbours
        return {
            "prompt_ids": [tokens["prompts"][n] for n, _ in places],
            "completion_ids": [tokens["completions"][n][g] for n, g in places],
            "logprobs": None,
            "given": [rewards[n][g] for n, g in places],
        }

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            folder,
            per_device_train_batch_size=total,
            shuffle_dataset=False,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            **{"lr_scheduler_type": "constant", **settings},
        )
        trainer = Watched(
            load_base(),
            lambda given, **_: list(given),
            config,
            Dataset.from_dict({"prompt": [str(n) for n in range(len(PROMPT_LENGTHS))]}),
            processing_class=tokenizer(),
            peft_config=lora(),
            rollout_func=rollout,
        )
        set_peft_model_state_dict(trainer.model, load_file(OUT / "adapter_old.safetensors"))
        if jump:
            trainer.optimizer = Jump(trainer.model, load_file(OUT / "adapter_new.safetensors"))
        optimizer = trainer.optimizer
        trainer.train()
    trainer.seen = optimizer.seen if jump else []
    return trainer


def measured(logged: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Per-token means that both trainers have, for each iteration."""
    rows = [row for row in logged if "entropy" in row]
    names = ("entropy", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean")
    return {name: [row[name] for row in rows] for name in names if name in rows[0]}


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(VOCABULARY)}
    plain = Tokenizer(models.WordLevel(words, unk_token="w2"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token=f"w{PAD}", eos_token=f"w{STOP}"
    )


if __name__ == "__main__":
    main()
