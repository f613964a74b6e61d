"""Keys of TRL, transformers, peft and others: what is said of each is true of our own keys."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import pytest

from edgetool.config import Config, DataSettings, build_config
from edgetool.errors import ConfigError
from edgetool.train.foreign_keys import FOREIGN, advice
from edgetool.train.settings import GRPOSettings, LoraSettings, RolloutSettings, SFTSettings

SECTIONS = {
    "data": DataSettings,
    "lora": LoraSettings,
    "grpo": GRPOSettings,
    "rollout": RolloutSettings,
    "sft": SFTSettings,
}
MINIMAL = {"model": "nano", "output_dir": "runs/x"}


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_config({**MINIMAL, **values}, "x.yaml")
    return str(caught.value).splitlines()


def exists(key: str) -> bool:
    section, _, name = key.rpartition(".")
    return name in get_type_hints(SECTIONS[section] if section else Config)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_every_key_that_is_advised_is_one(name: str) -> None:
    key, remark = FOREIGN[name]
    assert key or remark
    for section in ("grpo", "sft") if key.startswith("*.") else ("",):
        assert not key or exists(key.replace("*", section))
    for word in re.findall(r"\b(?:grpo|sft|lora|data)\.\w+", remark):
        assert exists(word)


@pytest.mark.parametrize("name", sorted(FOREIGN))
@pytest.mark.parametrize("section", [None, "grpo", "sft"])
def test_a_foreign_key_is_answered_with_what_to_write(name: str, section: str | None) -> None:
    if section and exists(f"{section}.{name}"):
        return
    [problem] = problems({section: {name: 1}} if section else {name: 1})
    assert problem.startswith(f"x.yaml: unknown key '{section}.{name}'" if section else "x.yaml: ")
    assert problem.endswith(str(advice(name, section or "")))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"num_generations": 8}, "unknown key 'num_generations'; write grpo.num_generations"),
        (
            {"learning_rate": 1e-5},
            "'learning_rate'; write grpo.learning_rate, for `edgetool sft` sft.learning_rate",
        ),
        ({"grpo": {"load_in_4bit": True}}, "'grpo.load_in_4bit'; write load_in_4bit"),
        ({"grpo": {"r": 8}}, "'grpo.r'; write lora.r"),
        ({"sft": {"warmup_ratio": 0.1}}, "write sft.warmup_steps (counted in steps: "),
        ({"per_device_train_batch_size": 8}, "write grpo.prompts_per_step (prompts in one"),
        ({"use_vllm": True}, "write rollout.engine (torch, llama or openai)"),
        ({"warmup_ration": 0.1}, "for warmup_ratio: write grpo.warmup_steps"),
        ({"num_generation": 8}, "for num_generations: write grpo.num_generations"),
        ({"grpo": {"report_to": "tensorboard"}}, "expected a list, such as [tensorboard]"),
        ({"grpo": {"report_to": ["wandb"]}}, "report_to = 'wandb': expected one of tensorboard"),
    ],
)
def test_a_key_in_the_wrong_place_or_misspelt_is_answered_too(
    values: dict[str, Any], complaint: str
) -> None:
    [problem] = problems(values)
    assert complaint in problem


def test_all_bad_values_of_a_section_are_named_at_once() -> None:
    grpo = {"num_generations": 1, "epsilon": "wide", "temperature": 0, "beta": -1, "warmup": 3}
    found = problems({"grpo": grpo, "lora": {"r": 0, "lora_alpha": 0}, "rewards": {"paper": "x"}})
    said = "\n".join(found)
    for part in (
        "num_generations = 1", "epsilon = 'wide'", "temperature = 0", "beta = -1",
        "unknown key 'grpo.warmup'", "r = 0", "lora_alpha = 0", "rewards.paper.weight = 'x'",
    ):  # fmt: skip
        assert part in said
    assert len(found) == 8


def test_what_the_absence_of_a_bad_value_makes_wrong_is_not_said() -> None:
    assert len(problems({"grpo": {"loss_type": "cispo", "epsilon_high": -1}})) == 1
