from __future__ import annotations

from dataclasses import replace

import pytest

from edgetool.errors import DataError, EngineError, PromptTooLong, UsageError
from edgetool.eval.evaluate import evaluate
from edgetool.runtime import ARMS, Sampling
from tests.eval.conftest import OSLO, RECORDED, Replay

GREEDY = Sampling()


def run(runtime, examples, arm="free", **kwargs):
    return evaluate(runtime, examples, model="base", arm=arm, sampling=GREEDY, **kwargs)


def test_recorded_right_completions_are_all_exact(examples):
    result = run(Replay(RECORDED), examples)
    assert [row.id for row in result.results] == ["one", "two", "none"]
    assert all(row.verdict.exact and row.problem is None for row in result.results)
    assert [row.expects_call for row in result.results] == [True, True, False]


@pytest.mark.parametrize("arm", ARMS)
def test_the_engine_is_told_the_arm(examples, arm):
    runtime = Replay(RECORDED)
    run(runtime, examples, arm)
    assert runtime.asked == [(["one", "two", "none"], arm)]


def test_every_row_is_reported_as_it_comes(examples):
    seen = []
    run(Replay(RECORDED), examples, on_row=lambda row: seen.append(row.id))
    assert seen == ["one", "two", "none"]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", [EngineError, PromptTooLong])
def test_an_engine_that_fails_on_a_row_costs_that_row_only(examples, together, kind):
    runtime = Replay({**RECORDED, "two": kind("fell over")}, together=together)
    one, two, none = run(runtime, examples).results
    assert one.verdict.exact and none.verdict.exact
    assert two.error == "fell over" and two.problem == "error" and two.text == ""
    assert not two.verdict.valid and not two.verdict.exact


def test_a_row_that_spoils_its_batch_is_found_by_halving(examples):
    rows = [replace(examples[0], id=f"row {i}") for i in range(64)]
    texts = {row.id: RECORDED["one"] for row in rows} | {"row 40": EngineError("fell over")}
    runtime = Replay(texts, together=True)
    results = run(runtime, rows).results
    assert [row.id for row in results if row.error] == ["row 40"]
    # all 64, then two halves of the half at fault: 1 + 2 x 6
    assert len(runtime.asked) == 13


def test_a_failed_row_that_expects_no_call_is_not_an_abstention(examples, failing):
    [*_, none] = run(Replay({**RECORDED, "none": failing}), examples).results
    assert not none.verdict.valid and not none.verdict.exact and not none.verdict.right_tool


def test_an_engine_that_fails_on_every_row_is_an_error_and_not_a_score(examples, failing):
    with pytest.raises(EngineError, match="every row; the first: the engine fell over"):
        run(Replay(dict.fromkeys(RECORDED, failing)), examples)


def test_an_arm_the_engine_does_not_offer_is_the_users_error(examples):
    with pytest.raises(UsageError, match="needs a constraint"):
        run(Replay({**RECORDED, "one": UsageError("needs a constraint engine")}), examples)


def test_an_unexpected_failure_is_not_swallowed(examples):
    with pytest.raises(ZeroDivisionError):
        run(Replay({**RECORDED, "one": ZeroDivisionError()}), examples)


@pytest.mark.parametrize("name", ["one", "none"])
def test_a_completion_that_was_cut_is_never_valid(examples, name):
    # As text, both are clean: a whole call, and prose without one.
    rows = {row.id: row for row in run(Replay(RECORDED, finished=False), examples).results}
    assert rows[name].problem == "cut"
    assert not rows[name].verdict.valid and not rows[name].verdict.exact
    assert rows[name].verdict.lenient_exact  # the lenient reading is kept


def test_surrounded_calls_are_not_valid(examples):
    rows = run(Replay({**RECORDED, "one": f"Sure! {OSLO}"}), examples).results
    assert rows[0].problem == "extra_text" and not rows[0].verdict.valid


def test_an_unknown_arm_names_the_known_ones(examples):
    with pytest.raises(
        UsageError, match="'fre' is not known; choose one of: free, constrained, names_only, gbnf"
    ):
        run(Replay(RECORDED), examples, "fre")


def test_no_rows_is_an_error():
    with pytest.raises(DataError, match="no rows"):
        run(Replay({}), [])
