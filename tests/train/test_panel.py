from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from edgetool import activity as activities
from edgetool.activity import Activity, busy, duration
from edgetool.calls.judge.match import judge
from edgetool.calls.syntaxes import Parsed
from edgetool.calls.types import Example
from edgetool.rewards.scoring import Scored
from edgetool.train.grpo_step import StepReport
from edgetool.train.progress import Panel, View, draw
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import Row

METRICS = dict.fromkeys(
    (
        "loss",
        "kl",
        "entropy",
        "grad_norm",
        "device_mb",
        "step_time",
        "completions/mean_length",
        "sampling/kl",
        "sampling/importance_sampling_ratio/mean",
    ),
    0.0,
) | {
    "reward": 0.615,
    "reward_std": 0.25,
    "valid": 0.94,
    "right_tool": 0.81,
    "exact": 0.5,
    "frac_reward_zero_std": 1.0,
    "tokens_per_second": 4321.0,
    "rss_mb": 2048.0,
}


def report(step: int, text: str = "hello") -> StepReport:
    row = Row(Example("row-7", (), (), ()), (1,))
    scored = Scored(text, judge(Parsed(), ()), (0.0,), 0.25)
    sampled = RolloutBatch.of([row], [[RolloutCompletion((1,), text, True, (0.0,))]], [[scored]])
    return StepReport(step, 10, METRICS, sampled)


def shown(step: int, text: str = "hello", *, terminal: bool, every: int = 1) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    with Panel(console, every) as panel:
        panel.show(report(step, text))
    return out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_numbers_that_matter_are_shown(terminal: bool) -> None:
    text = shown(3, terminal=terminal)
    for part in ("0.615 ± 0.250", "94", "81", "50", "4321", "2.00 GiB", "left"):
        assert part in text


def test_a_log_gets_one_line_per_logged_step() -> None:
    assert shown(3, terminal=False).count("\n") == 1
    assert shown(3, terminal=False, every=2) == ""
    assert shown(10, terminal=False, every=3) != ""  # the last step always


def test_a_line_says_of_what_groups_were_equal() -> None:
    assert "equal rewards in 1 of 1 groups" in shown(3, terminal=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_before_the_first_step_is_done_it_says_what_is_being_done(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities, "TICK", 0.01)
    monkeypatch.setattr(activities, "QUIET", 0.02)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    with Panel(console) as panel:
        panel.activity.begin("step 1: writing 64 completions", "token", "at most 256")
        panel.activity.reach(12)
        time.sleep(0.2)
    assert "step 1: writing 64 completions, token 12 of at most 256 ..." in out.getvalue()


def test_a_log_that_is_spoken_to_says_nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities, "TICK", 0.01)
    out = io.StringIO()
    with Panel(Console(file=out)):
        time.sleep(0.1)
    assert out.getvalue() == ""


def test_what_is_left_does_not_count_the_reading_of_rows_before_the_first_step() -> None:
    left: list[float] = []
    view = View(lambda _, seconds: left.append(seconds) or "", draw)
    with Panel(Console(file=io.StringIO()), view=view) as panel:
        time.sleep(0.05)  # 9 steps of it would be 0.45 s
        panel.show(report(1))
    assert left == [9 * METRICS["step_time"]]


def test_completions_are_shown_as_they_are_not_as_markup() -> None:
    assert "[bold]x[/nope]" in shown(1, "[bold]x[/nope]", terminal=True)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_items_are_counted_as_they_are_taken() -> None:
    activity, seen = Activity(), []
    for _ in activity.over(["a", "b"], "reading rows", "row"):
        seen.append(activity.text)
    assert seen == ["reading rows, row 1 of 2", "reading rows, row 2 of 2"]
    activity.begin("saving")
    assert activity.text == "saving"


def test_slow_work_is_said_in_a_log_and_quick_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities, "TICK", 0.01)
    monkeypatch.setattr(activities, "QUIET", 0.1)
    out = io.StringIO()
    with busy(Console(file=out), "exporting") as activity:
        activity.begin("writing Q4_K_M", "tensor", 70)
        activity.reach(7)
        time.sleep(0.3)
    assert "writing Q4_K_M, tensor 7 of 70 ..." in out.getvalue()
    quick = io.StringIO()
    with busy(Console(file=quick), "exporting"):
        pass
    assert quick.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_an_engine_of_other_arithmetic_is_shown_with_its_distance(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "sampling/kl", 0.00125)
    monkeypatch.setitem(METRICS, "sampling/importance_sampling_ratio/mean", 0.9987)
    text = shown(3, terminal=terminal)
    assert "engine KL" in text and "0.0013" in text and "0.9987" in text
