"""Train a few steps with TRL and tell how long they took. A benchmark's child.

It runs in TRL's own venv and imports nothing of edgetool. Settings are TRL's defaults but for those
that both sides share: no stop token before the last one, float32 on a CPU, gradient checkpointing
as asked, loss_type grpo. A micro-batch has at most the 8 completions that are TRL's default.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import BitsAndBytesConfig, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from scripts.bench.sides import Spec, cap_memory, read_spec, reward_of, tell

MICRO_BATCH = 8
R, ALPHA = 16, 32  # ours, see LoraSettings


def run(make_trainer: Callable[[Spec, str], GRPOTrainer]) -> None:
    """`make_trainer` gets the spec and a folder to write into."""
    spec = read_spec()
    cap_memory(spec)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(spec, folder)
        clock = Clock(trainer)
        trainer.add_callback(clock)
        trainer.train()
    _check(spec, trainer.state.num_input_tokens_seen)
    tell(spec, clock.steps)


def _check(spec: Spec, seen: int) -> None:
    """Raises SystemExit when prompts or completions did not have the lengths asked for."""
    completions = spec.prompts * spec.generations * (1 + spec.steps)
    wanted = completions * (spec.prompt + spec.completion)
    if seen != wanted:
        raise SystemExit(f"{completions} completions with {seen} tokens in all and not {wanted}")


class Clock(TrainerCallback):
    """(rollout, train) seconds of each step: making and scoring completions, and the rest."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.steps: list[tuple[float, float]] = []
        self.rollout, self.began = 0.0, 0.0
        made = trainer._generate_and_score_completions

        def timed(inputs: Any) -> Any:
            began = now()
            outputs = made(inputs)
            self.rollout += now() - began
            return outputs

        trainer._generate_and_score_completions = timed

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.rollout, self.began = 0.0, now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append((self.rollout, now() - self.began - self.rollout))


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def reward(completions: list[str], **_: Any) -> list[float]:
    return [reward_of(text) for text in completions]


def config(spec: Spec, folder: str, **more: Any) -> GRPOConfig:
    total = spec.prompts * spec.generations
    micro = min(MICRO_BATCH, spec.generations)
    return GRPOConfig(
        folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=total // micro,
        num_generations=spec.generations,
        max_completion_length=spec.completion,
        generation_kwargs={"min_new_tokens": spec.completion},
        max_steps=1 + spec.steps,
        loss_type="grpo",
        beta=0.0,
        num_iterations=1,
        gradient_checkpointing=spec.checkpointing,
        bf16=spec.bf16,
        use_cpu=spec.device == "cpu",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )


def tokenizer(spec: Spec) -> PreTrainedTokenizerFast:
    """tokenizer.json as it stands; AutoTokenizer would put Qwen2's pre-tokenizer in its place."""
    return PreTrainedTokenizerFast.from_pretrained(spec.model, padding_side="left")


def rows(spec: Spec) -> Dataset:
    return Dataset.from_dict(
        {"prompt": [" ".join(f"w{i}" for i in ids) for ids in spec.prompt_ids()]}
    )


def make_trainer(spec: Spec, folder: str) -> GRPOTrainer:
    dtype = "bfloat16" if spec.bf16 else "float32"
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return GRPOTrainer(
        spec.model,
        reward,
        config(spec, folder, model_init_kwargs={"dtype": dtype}),
        rows(spec),
        processing_class=tokenizer(spec),
        quantization_config=quantization if spec.four_bit else None,
        peft_config=LoraConfig(
            r=R, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


if __name__ == "__main__":
    run(make_trainer)
