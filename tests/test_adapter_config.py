"""Which settings of peft leave an adapter a plain LoRA: each of them is known, or refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from edgetool.adapter_config import (
    DEFAULTS,
    HARMLESS,
    HONOURED,
    REFUSED,
    numbers_of,
    read_adapter_config,
    require_plain,
)
from edgetool.errors import ModelError

PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}
HERE = Path("adapter")


def test_every_setting_of_peft_is_known() -> None:
    peft = pytest.importorskip("peft")
    theirs = {field.name for field in fields(peft.LoraConfig)}
    assert theirs - set(HONOURED) - set(HARMLESS) - set(REFUSED) == set()
    assert not set(HARMLESS) & set(REFUSED)


def test_the_defaults_are_pefts() -> None:
    peft = pytest.importorskip("peft")
    plain = peft.LoraConfig()
    assert {key: getattr(plain, key) for key in DEFAULTS} == DEFAULTS
    assert {key: getattr(plain, key) for key in REFUSED} == REFUSED


def test_a_config_as_peft_saves_it_is_plain(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj"], lora_dropout=0.1, layers_to_transform=[0], revision="main"
    )
    config.save_pretrained(tmp_path)
    assert read_adapter_config(tmp_path)["r"] == 4


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_more_than_plain_lora_is_refused_by_name(key: str) -> None:
    value = {"bias": "all", "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 8}}
    require_plain({**PLAIN, key: REFUSED[key]}, HERE)
    with pytest.raises(ModelError, match=rf"adapter: adapter_config.json has {key} = "):
        require_plain({**PLAIN, key: value.get(key, True)}, HERE)


@pytest.mark.parametrize("value", [True, 1, "on", [0], {"a": 1}, -0.5])
def test_a_setting_nobody_knows_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ModelError, match=r"has use_tomorrows_lora = .*, which is not known here"):
        require_plain({**PLAIN, "use_tomorrows_lora": value}, HERE)


@pytest.mark.parametrize("value", [None, False, {}, [], "", 0])
def test_a_setting_nobody_knows_may_be_off(value: Any) -> None:
    require_plain({**PLAIN, "use_tomorrows_lora": value}, HERE)


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "Gaussian", "orthogonal", "eva"])
def test_beginnings_that_leave_the_base_alone_are_plain(init: Any) -> None:
    require_plain({**PLAIN, "init_lora_weights": init}, HERE)


@pytest.mark.parametrize(
    ("init", "remedy"),
    [
        ("pissa", "path_initial_model_for_weight_conversion"),
        ("pissa_niter_16", "path_initial_model_for_weight_conversion"),
        ("OLoRA", "path_initial_model_for_weight_conversion"),
        ("corda", "path_initial_model_for_weight_conversion"),
        ("loftq", "train with init_lora_weights = True"),
        ("lora_ga", "train with init_lora_weights = True"),
        ("of_next_year", "train with init_lora_weights = True"),
        (["pissa"], "train with init_lora_weights = True"),
    ],
)
def test_beginnings_that_change_the_base_are_refused(init: Any, remedy: str) -> None:
    with pytest.raises(ModelError) as caught:
        require_plain({**PLAIN, "init_lora_weights": init}, HERE)
    assert f"init_lora_weights = {init!r}" in str(caught.value) and remedy in str(caught.value)


def test_what_is_not_there_has_pefts_default() -> None:
    found = numbers_of({}, HERE)
    assert (found.r, found.lora_alpha, found.scale) == (8, 8.0, 1.0)


def test_the_scale_is_alpha_through_r_or_through_its_root() -> None:
    assert numbers_of(PLAIN, HERE).scale == 1.5
    assert numbers_of({**PLAIN, "use_rslora": True}, HERE).scale == 3.0
    assert numbers_of({**PLAIN, "lora_alpha": 16.5, "r": 3}, HERE).scale == 5.5


@pytest.mark.parametrize(
    ("key", "value"),
    [("lora_alpha", "16"), ("lora_alpha", None), ("lora_alpha", float("nan")), ("lora_alpha", True),
     ("r", 0), ("r", 4.0), ("r", "8"), ("r", None), ("use_rslora", "no")],
)  # fmt: skip
def test_a_value_that_is_no_number_is_named(key: str, value: Any) -> None:
    with pytest.raises(ModelError, match=rf"adapter_config.json has {key} = "):
        require_plain({**PLAIN, key: value}, HERE)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"adapter_config\.json: (not JSON|must hold)"):
        read_adapter_config(tmp_path)


def test_another_kind_of_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(ModelError, match="adapter type 'IA3'"):
        read_adapter_config(tmp_path)
