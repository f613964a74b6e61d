"""What a report says first. Counts and percentages are worked out by hand beside each test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgetool.eval.report import tested as about_it
from edgetool.eval.report.headline import headline, markdown, shares
from edgetool.eval.report.report import report_facts
from edgetool.eval.report.summary import main_runtime
from edgetool.eval.report.tested import model_name
from tests.eval.conftest import arm

ABOUT = {
    "model": "nano",
    "parameters": 1_264_000,
    "size_bytes": {"gguf:Q8_0": 1_500_000},
    "task": "the bundled demo rows",
    "method": "train",
    "steps": 60,
    "command": "edgetool demo",
}


def found(*arms, about=None, names=None, examples=()):
    facts = report_facts(arms, 61.0, {}, {}) | {"about": about or {}, "names": names or {}}
    facts |= {"date": "2026-11-30"}
    facts["machine"] = {"cpu": "AMD EPYC", "cores": 2, "memory_gb": 25.3, "platform": "Linux"}
    return headline(facts, arms, main_runtime(arms), examples), facts


def pair(before, after, runtime="gguf:Q8_0", kind="free"):
    return arm(before, "base", runtime, kind), arm(after, "trained", runtime, kind)


def test_before_and_after_stand_in_the_headline():
    # right: 2 of 5 before, 3 of 5 after; r2 and r3 fixed, r1 broken, r0 kept, r4 never
    first, _ = found(*pair([1, 1, 0, 0, 0], [1, 0, 1, 1, 0]), about=ABOUT)
    assert (first.before, first.after, first.trend) == ("40 %", "60 %", "better")
    assert first.title == "nano: 40 % → 60 % exactly right"
    assert first.sentence == "2 of 5 requests before training, 3 after: 2 fixed, 1 broken."
    assert first.counts == {"right": 1, "fixed": 2, "broken": 1, "wrong": 1}


def test_a_model_that_got_worse_is_said_to_be_worse():
    first, _ = found(*pair([1, 1], [1, 0]))
    assert (first.before, first.after, first.trend) == ("100 %", "50 %", "worse")


def test_a_difference_that_may_be_chance_says_so():
    few, _ = found(*pair([1, 0], [1, 1]))  # one flip: p = 1
    many, _ = found(*pair([0] * 20, [1] * 20))  # p = 2/2^20
    assert few.sure.endswith("McNemar p = 1.000: that may be chance.")
    assert many.sure.startswith("+100.0 points, 95 % interval ")
    assert many.sure.endswith("McNemar p < 0.001.")


def test_one_file_is_titled_as_what_it_is():
    first, _ = found(arm([1, 1, 0], "my.Q8_0", "gguf:Q8_0"))
    assert first.title == "my.Q8_0: 67 % exactly right" and first.before is None
    assert first.counts == {"right": 2, "wrong": 1} and first.trend == "alone"
    # Wilson of 2/3: centre 0.5731, half width 0.3654
    assert first.sure == "95 % interval 20.8 to 93.9 %."


def test_equal_arms_are_said_once():
    free, held = pair([0, 1], [1, 1]), pair([0, 1], [1, 1], kind="constrained")
    first, _ = found(*free, *held)
    assert first.arms == "Free and constrained decoding get the same requests right."


def test_an_arm_with_as_many_right_but_others_is_not_called_equal():
    held = pair([1, 0], [1, 1], kind="constrained")  # the other row was right before
    first, _ = found(*pair([0, 1], [1, 1]), *held)
    assert first.arms == "Constrained decoding: 50 % → 100 %."


def test_two_files_are_called_by_their_names():
    first, _ = found(*pair([0, 1], [1, 1]), names={"base": "a/x", "trained": "b/x"})
    assert first.names == ("a/x", "b/x")
    assert first.sentence == "a/x: 1 of 2 requests. b/x: 2 of 2. 1 fixed, 0 broken."


def test_several_models_stand_side_by_side():
    first, facts = found(
        *(arm(right, name) for name, right in (("a", [1]), ("b", [0]), ("c", [1])))
    )
    assert first.title == "3 models, side by side"
    assert first.each == [("a", "100 %"), ("b", "0 %"), ("c", "100 %")]
    assert "a: 100 %. b: 0 %. c: 100 %." in markdown(first, facts)


def test_categories_are_counted_together():
    one, two = pair([0], [1]), pair([1, 0], [1, 0])
    arms = [*one, *(replace(each, category="x") for each in two)]  # ids repeat, rows do not
    first, _ = found(*arms)
    assert (first.before, first.after) == ("33 %", "67 %")


@pytest.mark.parametrize(
    ("before", "after", "n", "text"),
    [
        (41, 61, 100, ("41 %", "61 %")),
        (412, 414, 1000, ("41.2 %", "41.4 %")),  # whole numbers would call them equal
        (412, 412, 1000, ("41 %", "41 %")),
        (999, 1000, 1000, ("99.9 %", "100.0 %")),  # 99.9 is not all
        (0, 3, 1000, ("0.0 %", "0.3 %")),  # 0.3 is not nothing
        (0, 0, 3, ("0 %", "0 %")),
    ],
)
def test_percentages_are_whole_unless_that_would_mislead(before, after, n, text):
    assert shares(before, after, n) == text


def test_what_was_tested_is_said(examples):
    first, _ = found(*pair([0, 1, 1], [1, 1, 1]), about=ABOUT, examples=examples)
    assert dict(first.tested) == {
        "Model": "nano, 1.26 million parameters",
        "Runs as": "GGUF Q8_0 in llama.cpp, 1.5 MB",
        "Task": "the bundled demo rows: 3 requests, 2 tools",
        "Training": "60 steps of GRPO",
        "Machine": "AMD EPYC, 2 cores, 25.3 GB of memory",
        "Date": "2026-11-30",
        "Took": "1 min 01 s",
        "Command": "edgetool demo",
    }


def test_what_is_not_known_is_left_out():
    facts = {"config": {}, "job_seconds": 1.0, "machine": {"cpu": "x", "cores": 1}}
    names = [name for name, _ in about_it.tested(facts, "policy", "m", 1, [])]
    assert names == ["Model", "Runs as", "Task", "Machine", "Took"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 parameter"),
        (999_999, "999,999 parameters"),
        (134_515_008, "135 million parameters"),
        (1_720_000_000, "1.72 billion parameters"),
    ],
)
def test_models_are_as_big_as_people_say(count, text):
    assert about_it.parameters(count) == text


def test_markdown_says_the_same():
    first, facts = found(*pair([0, 1], [1, 1]), about=ABOUT)
    lines = markdown(first, facts).splitlines()
    assert lines[0] == "**nano. Requests answered with exactly the right tool calls: 50 % → 100 %**"
    assert "- Command: `edgetool demo`" in lines
    assert sum(line.startswith("| ") for line in lines) == 4  # head, rule, base, trained


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("/home/me/models/smollm2/model", "smollm2/model"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("nano", "nano"),
    ],
)
def test_of_a_long_path_a_report_shows_the_end(model, shown):
    assert model_name({"about": {"model": model}, "config": {}}, "x") == shown
