from __future__ import annotations

import dataclasses
import json

import pytest

from edgetool.commands.config import REQUIRED, all_keys, described, run_config
from edgetool.config import Config, DataSettings
from edgetool.errors import UsageError
from edgetool.train.settings import GRPOSettings, LoraSettings, RewardSettings, SFTSettings
from tests.commands.conftest import Said

CLASSES = [Config, DataSettings, LoraSettings, RewardSettings, GRPOSettings, SFTSettings]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_key_is_described_where_its_default_stands(kind: type) -> None:
    assert described(kind).keys() == {field.name for field in dataclasses.fields(kind)}


def test_all_keys_are_listed_with_default_and_type(console: Said) -> None:
    run_config(None, console)
    for key in all_keys():
        [line] = [line for line in console.text.splitlines() if line.split(" ")[0] == key.name]
        assert key.default in line and key.kind in line
    found = {key.name: key for key in all_keys()}
    assert found["model"].default == REQUIRED
    assert (found["grpo.beta"].default, found["grpo.beta"].kind) == ("0.0", "number")
    assert found["grpo.loss_type"].kind == "grpo | dr_grpo | dapo | bnpo | cispo"
    assert found["sft.learning_rate"].default == "0.0002"
    assert found["rewards"].default == "{paper: 1.0}"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("grpo.beta", ["grpo.beta"]),
        ("seed", ["grpo.seed", "sft.seed"]),
        ("lora", ["lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.target_modules"]),
    ],
)
def test_a_key_or_a_section_is_listed_alone(
    asked: str, names: list[str], capsys: pytest.CaptureFixture[str], console: Said
) -> None:
    run_config(asked, console, as_json=True)
    assert [key["name"] for key in json.loads(capsys.readouterr().out)] == names


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("warmup_ratio", "write grpo.warmup_steps"),
        ("grpo.betta", "did you mean 'grpo.beta'?"),
        ("modle", "did you mean 'model'?"),
    ],
)
def test_a_key_that_is_not_there_is_answered_with_one_that_is(
    asked: str, hint: str, console: Said
) -> None:
    with pytest.raises(UsageError, match=hint):
        run_config(asked, console)
