from __future__ import annotations

from typing import Any

import pytest

from edgetool.train.settings import GRPOSettings, LoraSettings, SFTSettings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_generations", 1),
        ("prompts_per_step", 0),
        ("max_steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("beta", -0.1),
        ("epsilon_high", -1.0),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("adam_beta2", 1.0),
        ("max_prompt_length", 0),
        ("packed_tokens", 0),
        ("loss_type", "ppo"),
        ("importance_sampling_level", "word"),
        ("importance_sampling_cap", 0.0),
        ("lr_scheduler_type", "step"),
        ("scale_rewards", "yes"),
        ("too_long", "truncate"),
        ("report_to", ["wandb"]),
    ],
)
def test_an_impossible_value_is_refused_with_its_key_and_itself(key: str, value: Any) -> None:
    shown = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=key) as caught:
        GRPOSettings(**{key: value})
    assert str(shown) in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("r", 0), ("lora_alpha", 0), ("lora_dropout", 1.0), ("target_modules", "q_proj")],
)
def test_an_impossible_lora_value_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        LoraSettings(**{key: value})


def test_cispo_asks_for_its_cap() -> None:
    with pytest.raises(ValueError, match="epsilon_high = null: loss_type 'cispo' needs it"):
        GRPOSettings(loss_type="cispo")
    assert GRPOSettings(loss_type="cispo", epsilon_high=5.0).clip_high == 5.0


def test_epsilon_high_is_epsilon_unless_given() -> None:
    assert GRPOSettings(epsilon=0.1).clip_high == 0.1
    assert GRPOSettings(epsilon=0.1, epsilon_high=0.3).clip_high == 0.3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("per_device_train_batch_size", 0),
        ("max_length", 0),
        ("no_call_text", " "),
        ("learning_rate", 0.0),
        ("max_steps", 0),
        ("lr_scheduler_type", "step"),
        ("report_to", ["wandb"]),
    ],
)
def test_an_impossible_value_of_a_supervised_run_is_refused(key: str, value: Any) -> None:
    shown = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=key) as caught:
        SFTSettings(**{key: value})
    assert str(shown) in str(caught.value)
    assert "expected" in str(caught.value)
