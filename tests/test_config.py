"""Configuration: every mistake at once, with the key meant."""

from __future__ import annotations

import pytest
import yaml

from edgetool.config import build_config, load_config
from edgetool.errors import ConfigError, UsageError
from edgetool.train.settings import RewardSettings

MINIMAL = {"model": "nano", "output_dir": "runs/x"}


def test_a_minimal_configuration_takes_every_default():
    config = build_config(MINIMAL, "x.yaml")
    assert config.load_in_4bit and config.rewards == {"paper": RewardSettings(weight=1.0)}
    assert config.grpo.num_generations == 8


def test_what_is_dumped_reads_back_as_the_same_configuration():
    lora = {"target_modules": ["q_proj", "v_proj"]}
    rewards = {"paper": 0.5, "no_extra_text": {"weight": 0.5, "until": 0.9, "then": 0.125}}
    values = {**MINIMAL, "lora": lora, "grpo": {"beta": 0.04}, "rewards": rewards}
    config = build_config(values, "x.yaml")
    assert build_config(yaml.safe_load(config.dump()), "y.yaml") == config


def test_a_reward_is_a_weight_or_a_weight_that_changes():
    falling = {"weight": 0.5, "until": 0.9, "then": 0.125}
    config = build_config({**MINIMAL, "rewards": {"paper": 2, "mine.py:f": falling}}, "x.yaml")
    assert config.rewards == {
        "paper": RewardSettings(2.0),
        "mine.py:f": RewardSettings(0.5, until=0.9, then=0.125, window=10),
    }


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"modle": "nano"}, "unknown key 'modle'; did you mean 'model'?"),
        ({"grpo": {"num_generation": 8}}, "did you mean 'grpo.num_generations'?"),
        ({"lora": {"rank_": 8}}, "unknown key 'lora.rank_'"),
        ({"grpo": {"epsilon": "wide"}}, "grpo.epsilon = 'wide'"),
        ({"grpo": {"num_generations": 1}}, "num_generations = 1"),
        ({"grpo": {"temperature": 0}}, "temperature = 0"),
        ({"sft": {"max_lenght": 9}}, "did you mean 'sft.max_length'?"),
        ({"sft": {"learning_rate": 0}}, "learning_rate = 0"),
        ({"rewards": {"paper": "much"}}, "rewards.paper.weight = 'much'"),
        ({"rewards": {"paper": {"wieght": 1}}}, "did you mean 'rewards.paper.weight'?"),
        ({"rewards": {"paper": {"until": 0.5, "window": 0}}}, "window = 0"),
        ({"rewards": {"paper": float("inf")}}, "weight = inf"),
        ({"output_dir": None}, "output_dir = None"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_value(values, complaint):
    with pytest.raises(ConfigError) as caught:
        build_config({**MINIMAL, **values}, "x.yaml")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


def test_all_mistakes_are_reported_together():
    values = {"modle": "nano", "grpo": {"epsilon": "x", "batch": 1}}
    with pytest.raises(ConfigError) as caught:
        build_config(values, "x.yaml")
    # two unknown keys, two missing ones, one bad value
    assert len(str(caught.value).splitlines()) == 5


def test_overrides_reach_nested_keys_and_are_read_as_yaml(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    config = load_config(path, ["grpo.learning_rate=1e-4", "lora.r=8", "data.train=rows.jsonl"])
    assert config.grpo.learning_rate == 1e-4 and config.lora.r == 8
    assert config.data.train == "rows.jsonl"


@pytest.mark.parametrize("override", ["grpo.max_steps", "=3", "model.name=x", "grpo.max_steps=["])
def test_an_override_that_cannot_work_is_quoted(tmp_path, override):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(ConfigError, match="--set"):
        load_config(path, [override])


@pytest.mark.parametrize("text", ["- a list", "just text", "{", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        load_config(path)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no configuration at"):
        load_config(tmp_path / "none.yaml")
