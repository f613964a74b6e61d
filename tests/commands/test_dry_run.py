"""`--dry-run`: what it says of a run, and that all problems come at once."""

from __future__ import annotations

import logging
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgetool.commands import dry_run
from edgetool.commands.dry_run import run_dry
from edgetool.config import Config, build_config
from edgetool.data import demo
from edgetool.data.rows import write_rows
from edgetool.errors import EdgetoolError, UsageError
from edgetool.train.step_time import Pace, Work, learning_seconds, rollout_seconds
from tests.commands.conftest import Said


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A configuration on nano and twelve rows of the demo."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("rows.jsonl"), demo.examples("train", 12))

    def make(**changes: Any) -> Config:
        data = {"train": "rows.jsonl", "validation": "rows.jsonl"}
        values = {"model": "nano", "output_dir": "run", "data": data, **changes}
        return build_config(values, "my.yaml")

    return make


def line(console: Said, what: str) -> str:
    [found] = [text for text in console.text.splitlines() if text.startswith(f"{what} ")]
    return found


def test_a_run_that_can_start_is_described_and_nothing_is_written(made: Any, console: Said) -> None:
    grpo = {"prompts_per_step": 2, "gradient_accumulation_steps": 2, "max_steps": 9}
    run_dry(made(grpo=grpo, rewards={"paper": 1, "exact": 0.5}), console)
    assert "12 of rows.jsonl" in line(console, "rows")
    assert line(console, "rewards").endswith("paper 1, exact 0.5")
    assert "p50 " in line(console, "prompts") and "max " in line(console, "targets")
    assert "0 of 12 rows over " in line(console, "too long")
    assert "3 an epoch (12 rows, 4 a step); max_steps = 9 are 3 epochs" in line(console, "steps")
    assert "a rough model" in line(console, "time")
    assert "MiB free" in line(console, "disk")
    assert "MiB planned" in line(console, "memory")
    assert "<|im_start|>user" in console.text and "<tool_call>" in console.text
    assert "nothing stands in the way" in console.text
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]


def test_bitsandbytes_says_nothing_of_kernels_that_a_hub_has(made: Any, console: Said) -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.setLevel(logging.NOTSET)
    run_dry(made(), console)
    assert not logger.isEnabledFor(logging.WARNING)


def test_a_warm_start_counts_its_own_batches(made: Any, console: Said) -> None:
    sft = {"per_device_train_batch_size": 3, "max_steps": 8, "max_length": 300}
    run_dry(made(sft=sft), console, "sft")
    assert " rows over 300 tokens: " in line(console, "too long")
    assert ", 3 a step); max_steps = 8 are " in line(console, "steps")


def test_all_problems_come_at_once(made: Any, console: Said) -> None:
    good = Path("rows.jsonl").read_text().splitlines()
    Path("rows.jsonl").write_text("\n".join(["{", *good, '{"messages": 1}']))
    Path("run").touch()
    config = made(
        rewards={"papr": 1.0, "none.py:f": 1.0, "exact": 1.0},
        data={"train": "rows.jsonl", "validation": "absent.jsonl"},
    )
    with pytest.raises(UsageError) as refused:
        run_dry(config, console, init_adapter=Path("warm"))
    for part in (
        "rows.jsonl:1: ", "rows.jsonl:14: ", "did you mean 'paper'", "none.py",
        "no rows at absent.jsonl", "no adapter to start from at warm", "run: could not be written",
    ):  # fmt: skip
        assert part in str(refused.value)
    assert "12 of rows.jsonl can be used, 2 problems are below" in line(console, "rows")
    assert "p50 " in line(console, "prompts")  # of those that can be used


def test_bad_rows_alone_are_a_failure_and_no_wrong_command(made: Any, console: Said) -> None:
    Path("rows.jsonl").write_text("{\n")
    with pytest.raises(EdgetoolError) as refused:
        run_dry(made(), console)
    assert refused.value.exit_code == 1


def test_rows_that_can_never_be_finished_are_named_with_the_limit_they_need(
    made: Any, console: Said
) -> None:
    run_dry(made(grpo={"max_completion_length": 8}), console)
    longest = int(line(console, "targets").rpartition("max ")[2])
    assert "can never be finished" in console.text and f"raise it to {longest}" in console.text


def test_rows_that_are_too_long_are_a_problem_where_none_is_left(made: Any, console: Said) -> None:
    with pytest.raises(EdgetoolError, match="12 rows are too long; raise max_prompt_length"):
        run_dry(made(grpo={"max_prompt_length": 5}), console)


def test_a_model_that_is_not_here_is_planned_from_its_card(made: Any, console: Said) -> None:
    run_dry(made(model="Qwen2.5-0.5B-Instruct"), console)
    assert "not on this machine yet: no prompt was made" in line(console, "prompts")
    assert "MiB planned" in line(console, "memory")


def test_a_disk_that_is_too_small_is_a_problem(
    made: Any, console: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**20, 0, 2**20))
    with pytest.raises(EdgetoolError, match="are needed and 1 MiB free"):
        run_dry(made(), console)


def test_a_folder_that_holds_a_run_is_a_problem_unless_it_goes_on(made: Any, console: Said) -> None:
    Path("run/adapter").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds a run already"):
        run_dry(made(), console)
    run_dry(made(), console, resume=True)
    assert "nothing stands in the way" in console.text


def test_percentiles_are_values_that_occur() -> None:
    assert dry_run._percentiles(range(1, 101)) == "p50 50, p95 95, max 100"
    assert dry_run._percentiles([7]) == "p50 7, p95 7, max 7"


def test_a_step_s_seconds_are_its_layers_tokens_and_passes() -> None:
    pace = Pace(decode=1.0, read=0.5, learn=2.0, head=0.25, layers=3)
    work = Work(prompts=2, sequences=4, prompt=10, completion=5, iterations=2, recomputed=True)
    # 3 layers x (0.5 x 20 read + 1.0 x 5 decoded) + 0.25 x 20 tokens' logits
    assert rollout_seconds(pace, work) == 3 * 15 + 5
    # 2 passes x (3 layers x (2.0 + 0.5) x 40 tokens + 3 x 0.25 x 20 tokens' logits)
    assert learning_seconds(pace, work) == 2 * (300 + 15)
    assert learning_seconds(pace, replace(work, recomputed=False)) == 2 * (240 + 15)
