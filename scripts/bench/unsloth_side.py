"""The same as trl_side, through Unsloth, in its own venv. A benchmark's child.

Unsloth patches TRL's trainer, so the clock, the rewards and the settings are those of trl_side.
"""

from __future__ import annotations

import unsloth  # first: it patches what trl_side imports
from trl import GRPOTrainer

from scripts.bench.sides import Spec
from scripts.bench.trl_side import ALPHA, R, config, reward, rows, run, tokenizer

LINEAR = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]


def make_trainer(spec: Spec, folder: str) -> GRPOTrainer:
    model, _ = unsloth.FastLanguageModel.from_pretrained(
        spec.model, max_seq_length=spec.prompt + spec.completion, load_in_4bit=spec.four_bit
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=R,
        lora_alpha=ALPHA,
        target_modules=LINEAR,
        use_gradient_checkpointing="unsloth" if spec.checkpointing else False,
    )
    return GRPOTrainer(
        model, reward, config(spec, folder), rows(spec), processing_class=tokenizer(spec)
    )


if __name__ == "__main__":
    run(make_trainer)
