from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetool.commands.training import say_how_it_ended
from edgetool.run_folder import RunFolder
from edgetool.train.loop import TrainResult
from edgetool.train.rows import Rows
from tests.commands.conftest import Said


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "config.yaml").write_text("model: nano\noutput_dir: x\n")
    return RunFolder(tmp_path)


def log(run: RunFolder, verb: str, rows: list[dict[str, Any]]) -> None:
    (run.path / "run.json").write_text(json.dumps({"verb": verb}))
    lines = [json.dumps({"step": n, "step_time": 2.0, **row}) for n, row in enumerate(rows, 1)]
    (run.path / "metrics.jsonl").write_text("\n".join(lines))


def ended(steps: int, *, interrupted: bool = False) -> TrainResult:
    return TrainResult(steps, None, None, interrupted, {}, Rows(()))


def grpo(reward: float) -> dict[str, float]:
    return {"reward": reward, "exact": reward / 2, "right_tool": 0.5}


def test_a_run_says_from_where_to_where(run: RunFolder, console: Said) -> None:
    log(run, "train", [grpo(r) for r in (0.1, 0.3, 0.0, 0.0, 0.6, 0.8)])
    say_how_it_ended(ended(6), run, console)
    assert "trained 6 steps in 12 s: reward 0.200 -> 0.700, exact 10% -> 35%, " in console.text
    assert "(means of the first and the last 2 logged steps)" in console.text
    for part in (f"{run.path}/adapter", f"edgetool eval {run.path}", f"edgetool export {run.path}"):
        assert part in console.text


def test_no_more_than_ten_steps_are_averaged_at_either_end(run: RunFolder, console: Said) -> None:
    log(run, "train", [grpo(0.0)] * 10 + [grpo(0.5)] * 30 + [grpo(1.0)] * 10)
    say_how_it_ended(ended(50), run, console)
    assert "reward 0.000 -> 1.000" in console.text and "the last 10 logged" in console.text


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_steps_have_no_course(run: RunFolder, console: Said, count: int) -> None:
    log(run, "train", [grpo(0.5)] * count)
    say_how_it_ended(ended(2), run, console)
    assert "->" not in console.text and "trained 2 steps" in console.text


def test_a_warm_start_names_the_way_to_grpo(run: RunFolder, console: Said) -> None:
    rows = [{"loss": loss, "mean_token_accuracy": 1 - loss} for loss in (0.5, 0.4, 0.25)]
    log(run, "sft", rows)
    say_how_it_ended(ended(3), run, console)
    assert "loss 0.5000 -> 0.2500, token accuracy 50.0% -> 75.0%" in console.text
    assert f"edgetool train --config {run.path}/config.yaml --init-adapter" in console.text


def test_a_stopped_run_says_how_to_go_on(run: RunFolder, console: Said) -> None:
    log(run, "train", [])
    say_how_it_ended(ended(3, interrupted=True), run, console)
    assert "stopped after step 3 and saved; go on with: edgetool train" in console.text
