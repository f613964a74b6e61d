"""`edgetool train` and `sft` with options alone, and options beside a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from edgetool.commands.train_options import ConfigOptions, configured
from edgetool.data import demo
from edgetool.data.rows import write_rows
from edgetool.errors import ConfigError, UsageError
from tests.commands.conftest import Said
from tests.commands.processes import started


@pytest.fixture
def rows_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("rows.jsonl"), demo.examples("train", 60))
    return Path("rows.jsonl")


def test_model_and_rows_are_enough_and_what_is_chosen_is_said(
    rows_file: Path, console: Said
) -> None:
    config = configured("train", ConfigOptions(model="nano", data=str(rows_file)), console)
    assert (config.model, config.output_dir) == ("nano", "runs/nano-rows")
    assert config.data.validation != "demo" and Path(config.data.validation).is_file()
    assert "into runs/nano-rows" in console.text and config.data.validation in console.text


def test_a_warm_start_goes_into_a_folder_of_its_own(rows_file: Path, console: Said) -> None:
    config = configured("sft", ConfigOptions(data=str(rows_file), seed=7), console)
    assert config.output_dir == "runs/nano-rows-sft"
    assert (config.sft.seed, config.grpo.seed) == (7, 42)


def test_set_comes_last(rows_file: Path, console: Said) -> None:
    options = ConfigOptions(
        model="x/y", data="rows.jsonl", overrides=["model=nano", "output_dir=here"], seed=1
    )
    config = configured("train", options, console)
    assert (config.model, config.output_dir, config.grpo.seed) == ("nano", "here", 1)


def test_options_take_the_place_of_a_file_s_values(rows_file: Path, console: Said) -> None:
    values = {"model": "nano", "output_dir": "o", "data": {"train": "a", "validation": "b"}}
    Path("my.yaml").write_text(yaml.safe_dump(values))
    options = ConfigOptions(Path("my.yaml"), model="other/model", data="rows.jsonl", seed=3)
    config = configured("train", options, console)
    assert (config.model, config.data.train, config.grpo.seed) == ("other/model", "rows.jsonl", 3)
    assert config.data.validation == "b"
    assert "data.validation stays b" in console.text


def test_nothing_given_is_answered_with_both_ways(console: Said) -> None:
    with pytest.raises(UsageError, match=r"--config my\.yaml.*--model nano --data rows\.jsonl"):
        configured("train", ConfigOptions(), console)


def test_a_mistake_without_a_file_is_said_to_be_on_the_command_line(console: Said) -> None:
    with pytest.raises(ConfigError, match=r"command line: unknown key 'grpo\.warmup_ratio'"):
        configured(
            "train", ConfigOptions(model="nano", overrides=["grpo.warmup_ratio=0.1"]), console
        )


def test_several_processes_need_a_file(monkeypatch: pytest.MonkeyPatch, console: Said) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="edgetool init"):
        configured("train", ConfigOptions(model="nano"), console)


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "section"), [("train", "grpo"), ("sft", "sft")])
def test_a_run_without_a_file_leaves_its_whole_configuration(
    rows_file: Path, verb: str, section: str
) -> None:
    name = "runs/nano-rows" + ("-sft" if verb == "sft" else "")
    options = ["--model", "nano", "--data", "rows.jsonl", "--seed", 7]
    with started(verb, *options, "--set", f"{section}.max_steps=1") as run:
        run.until(f"into {name}")
        run.until("step 1/1")
        assert run.popen.wait(timeout=60) == 0
    values = yaml.safe_load(Path(name, "config.yaml").read_text())
    assert values["model"] == "nano" and values[section]["seed"] == 7
    assert json.loads(Path(name, "run.json").read_text())["verb"] == verb
