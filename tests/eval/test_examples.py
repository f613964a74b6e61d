"""Which rows a report shows, in what order, and how their calls are marked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgetool.calls.types import Example, ExpectedCall
from edgetool.eval.evaluate import ArmResult, evaluate
from edgetool.eval.outcomes import counted, outcomes
from edgetool.eval.report.calls_shown import calls_of, shown_calls
from edgetool.eval.report.examples import Shown, Written, shown
from edgetool.eval.report.per_tool import per_tool
from edgetool.runtime import Sampling
from tests.conftest import music_tool, user, weather_tool
from tests.eval.conftest import Replay, arm

TOOLS = (weather_tool(), music_tool())


def rows(count):
    return [Example(f"r{i}", user(f"say {i}"), TOOLS, ()) for i in range(count)]


def example(*calls):
    return Example("x", user("weather"), TOOLS, tuple(ExpectedCall(n, a) for n, a in calls))


def written(row, *texts):
    """What came of one row when a model wrote `texts`, an arm each."""
    arms = [
        evaluate(Replay({"x": text}), [row], model=name, arm="free", sampling=Sampling())
        for name, text in zip(("base", "trained", "third"), texts, strict=False)
    ]
    return Shown(row, "fixed", tuple(Written(a.model, ("free",), a.results[0]) for a in arms))


def call(name, **arguments):
    body = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{body}\n</tool_call>"


def marks(call_shown):
    return {each.name: each.mark for each in call_shown.arguments}


def test_three_fixed_come_before_one_broken():
    before = [0, 0, 0, 0, 1, 1, 0, 0]
    after = [1, 1, 1, 1, 0, 0, 0, 0]
    kinds = [each.kind for each in shown([arm(before), arm(after, "trained")], rows(8))]
    assert kinds == ["fixed", "fixed", "fixed", "broken", "wrong", "fixed", "broken", "wrong"]


def test_rows_right_in_all_arms_say_nothing_beside_a_base_but_do_alone():
    both = [arm([1, 0]), arm([1, 0], "trained")]
    assert [each.example.id for each in shown(both, rows(2))] == ["r1"]
    assert [each.kind for each in shown([arm([1, 0], "one")], rows(2))] == ["right", "wrong"]


def test_what_only_decoding_changed_is_not_laid_to_training():
    arms = [arm([0], m, kind="free") for m in ("base", "trained")]
    arms += [arm([1], m, kind="constrained") for m in ("base", "trained")]
    assert [each.kind for each in shown(arms, rows(1))] == ["decoding"]


def test_arms_that_made_the_same_calls_are_shown_once():
    row = example(("get_weather", {"city": "Oslo"}))
    texts = {
        "free": call("get_weather", city="Rome"),
        "constrained": call("get_weather", city="Rome") + "\n",
    }
    arms = [
        evaluate(Replay({"x": text}), [row], model="m", arm=kind, sampling=Sampling())
        for kind, text in texts.items()
    ]
    [found] = shown(arms, [row])
    assert [each.arms for each in found.written] == [("free", "constrained")]


def test_the_argument_that_differs_is_marked_in_all_arms():
    row = example(("get_weather", {"city": "Rome", "days": 3}))
    found = written(
        row, call("get_weather", city="Rome", days=4), call("get_weather", city="Rome", days=3)
    )
    calls = shown_calls(found)
    assert marks(calls.expected[0]) == {"city": "", "days": "good"}
    assert marks(calls.made[0][0]) == {"city": "", "days": "bad"}
    assert marks(calls.made[1][0]) == {"city": "", "days": "good"}


def test_a_missing_argument_and_one_too_many_are_marked():
    row = example(("get_weather", {"city": "Rome", "days": 3}))
    [[made]] = shown_calls(written(row, call("get_weather", city="Rome", week=1))).made
    assert marks(made) == {"city": "", "week": "bad", "days": "missing"}


def test_the_wrong_tool_and_a_call_too_many_are_marked_by_name():
    right = ("get_weather", {"city": "Oslo"})
    [[wrong]] = shown_calls(written(example(right), call("play_music", artist="Oslo"))).made
    assert (wrong.name, wrong.mark) == ("play_music", "bad")
    [[unasked]] = shown_calls(written(example(), call("get_weather", city="Oslo"))).made
    assert unasked.mark == "bad"


def test_calls_in_another_order_are_judged_as_they_are_shown():
    row = example(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"}))
    text = call("get_weather", city="Rome") + "\n" + call("get_weather", city="Bonn")
    [made] = shown_calls(written(row, text)).made
    assert {c.arguments[0].value: c.arguments[0].mark for c in made} == {
        '"Bonn"': "bad",
        '"Rome"': "good",
    }


def test_a_mistake_deep_inside_marks_its_argument():
    tool = replace(weather_tool(), parameters={"type": "object"})
    want = ExpectedCall("get_weather", {"where": {"city": "Oslo", "zip": [1, 2]}, "unit": "C"})
    row = Example("x", user("weather"), (tool,), (want,))
    text = call("get_weather", where={"city": "Oslo", "zip": [1, 3]}, unit="C")
    [[made]] = shown_calls(written(row, text)).made
    assert marks(made) == {"where": "bad", "unit": ""}


@pytest.mark.parametrize("text", ["", "prose", "<tool_call>{", "<tool_call>\n[]\n</tool_call>"])
def test_what_holds_no_call_shows_none(text):
    row = example(("get_weather", {"city": "Oslo"}))
    assert shown_calls(written(row, text)).made == ((),)


def test_a_long_value_is_cut():
    row = example(("get_weather", {"city": "Oslo"}))
    [[made]] = shown_calls(written(row, call("get_weather", city="x" * 5000))).made
    assert len(made.arguments[0].value) == 401 and made.arguments[0].value.endswith("…")


def test_results_of_an_older_version_have_no_calls(examples):
    old = arm([True]).results[0]
    assert calls_of(replace(old, said="")) == ()


def test_outcomes_are_counted_by_row():
    found = outcomes([arm([1, 1, 0, 0, 0])], [arm([1, 0, 1, 0, 0], "trained")])
    assert counted(found) == {"right": 1, "fixed": 1, "broken": 1, "wrong": 2}


# ---- tool by tool


def asked(*tools):
    """Rows r0, r1, ... that ask for these tools; None for no call."""
    calls = [() if t is None else tuple(ExpectedCall(n, {}) for n in t.split("+")) for t in tools]
    return [Example(f"r{i}", user("x"), TOOLS, c) for i, c in enumerate(calls)]


def test_each_tool_has_its_rows_and_what_flipped():
    examples = asked("a", "a", "b", None, "a+b")
    base, trained = arm([1, 0, 1, 1, 0]), arm([1, 1, 0, 1, 1], "trained")
    a, b, none = per_tool({"base": [base], "trained": [trained]}, examples)
    assert (a.tool, a.rows, a.right, a.fixed, a.broken) == ("a", 3, {"base": 1, "trained": 3}, 2, 0)
    assert (b.tool, b.rows, b.right, b.fixed, b.broken) == ("b", 2, {"base": 1, "trained": 1}, 1, 1)
    assert (none.tool, none.rows, none.right) == ("", 1, {"base": 1, "trained": 1})


def test_a_tool_called_twice_in_a_row_counts_once():
    [row] = per_tool({"m": [arm([1], "m")]}, asked("a+a"))
    assert (row.rows, row.right) == (1, {"m": 1})


def test_without_the_examples_there_is_no_table():
    assert per_tool({"m": [arm([1], "m")]}, []) == []


def test_a_row_that_one_model_did_not_see_is_left_out():
    arms = {"base": [arm([1, 1])], "trained": [ArmResult("trained", "r", "free", arm([1]).results)]}
    [row] = per_tool(arms, asked("a", "a"))
    assert row.rows == 1
