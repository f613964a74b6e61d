"""Several completions of a row, and completions that were kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgetool.errors import EngineError, UsageError
from edgetool.eval.cache import CompletionCache
from edgetool.eval.evaluate import ArmResult, evaluate
from edgetool.eval.metrics import majority, measures, pass_at
from edgetool.eval.results import dump_results, load_results
from edgetool.runtime import CONSTRAINED, FREE, Sampling, failed
from tests.eval.conftest import RECORDED, Replay, row

WARM = Sampling(temperature=1.0)


@pytest.mark.parametrize(
    ("n", "right", "k", "expected"),
    [
        (4, 0, 2, 0.0),
        (4, 1, 1, 0.25),
        (4, 1, 2, 0.5),  # 1 - C(3,2)/C(4,2) = 1 - 3/6
        (4, 2, 2, 5 / 6),  # 1 - 1/6
        (4, 3, 2, 1.0),
        (5, 5, 1, 1.0),
    ],
)
def test_pass_at_k_by_hand(n, right, k, expected):
    assert pass_at(n, right, k) == pytest.approx(expected)


def said(text: str, *, exact: bool, **changes):
    return row("a", exact=exact, said=text, **changes)


def test_the_majority_is_what_most_completions_call():
    wrong, right = said("x", exact=False), said("y", exact=True)
    assert majority([wrong, right, right])
    assert not majority([wrong, wrong, right])


def test_of_equals_the_first_wins():
    wrong, right = said("x", exact=False), said("y", exact=True)
    assert majority([right, wrong]) and not majority([wrong, right])


def test_what_cannot_be_read_has_no_vote():
    broken = said("", exact=False, problem="invalid_json")
    assert majority([broken, broken, said("y", exact=True)])
    assert not majority([broken])


def drawn() -> ArmResult:
    """Two rows, three completions each: a right, wrong, right; b wrong throughout."""
    a = [said("y", exact=True), said("x", exact=False), said("y", exact=True)]
    b = [replace(said("x", exact=False), id="b")] * 3
    first, *rest = [
        tuple(replace(r, sample=n) for r in pair) for n, pair in enumerate(zip(a, b, strict=True))
    ]
    return ArmResult("m", "r", FREE, first, more=rest[0] + rest[1])


def test_pass_at_k_and_majority_of_two_rows():
    found = measures(drawn())
    # row a has 2 of 3 right: pass@1 2/3, pass@2 1 - C(1,2)/C(3,2) = 1, row b 0
    assert {k: v["value"] for k, v in found["pass_at"].items()} == pytest.approx(
        {"1": 1 / 3, "2": 0.5, "3": 0.5}
    )
    assert found["majority"]["value"] == 0.5
    assert found["exact_match"]["value"] == 0.5  # the first completions only


def test_further_completions_come_back_from_disk(tmp_path):
    assert load_results(dump_results(tmp_path, drawn())) == drawn()


def test_every_sample_is_drawn_with_a_seed_of_its_own(examples):
    class Seeds(Replay):
        def generate(self, examples, sampling, arm=FREE):
            seeds.append(sampling.seed)
            return super().generate(examples, sampling, arm)

    seeds: list[int] = []
    result = evaluate(Seeds(RECORDED), examples, model="m", arm=FREE, sampling=WARM, samples=3)
    assert len(set(seeds)) == 3 and seeds[0] == WARM.seed
    assert [r.sample for r in result.more] == [1] * 3 + [2] * 3


@pytest.mark.parametrize(("samples", "sampling"), [(2, Sampling()), (0, WARM)])
def test_samples_that_would_say_nothing_are_refused(examples, samples, sampling):
    with pytest.raises(UsageError, match="samples of each row"):
        evaluate(
            Replay(RECORDED), examples, model="m", arm=FREE, sampling=sampling, samples=samples
        )


def run(path, examples, runtime, arm=FREE, sampling=None):
    with CompletionCache(path) as cache:
        asked = {"model": "m", "arm": arm, "sampling": sampling or Sampling()}
        return evaluate(runtime, examples, cache=cache, **asked)


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path, examples):
    path = tmp_path / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, examples, Replay({**RECORDED, "none": KeyboardInterrupt()}))
    again = Replay(RECORDED)
    result = run(path, examples, again)
    assert again.asked == [(["none"], FREE)]
    assert result == run(tmp_path / "other.jsonl", examples, Replay(RECORDED))


def test_a_failure_is_not_kept(tmp_path, examples):
    path = tmp_path / "kept.jsonl"
    run(path, examples, Replay({**RECORDED, "two": EngineError("fell over")}))
    again = Replay(RECORDED)
    assert not any(r.error for r in run(path, examples, again).results)
    assert again.asked == [(["two"], FREE)]


@pytest.mark.parametrize(
    "other",
    [
        {"arm": CONSTRAINED},
        {"sampling": Sampling(max_completion_length=7)},
        {"sampling": Sampling(temperature=1.0)},
        {"fingerprint": "another model"},
    ],
    ids=str,
)
def test_what_a_completion_depends_on_is_looked_at(tmp_path, examples, other):
    path = tmp_path / "kept.jsonl"
    run(path, examples, Replay(RECORDED))
    again = Replay(RECORDED, fingerprint=other.pop("fingerprint", "replay"))
    run(path, examples, again, **other)
    assert len(again.asked[0][0]) == 3


def test_a_seed_matters_to_a_sampled_completion_only(tmp_path, examples):
    with CompletionCache(tmp_path / "kept.jsonl") as cache:
        one, two = ((Sampling(temperature=t, seed=1), Sampling(temperature=t)) for t in (0.0, 1.0))
        same, differs = (
            {cache.key("m", examples[0], sampling=s, arm=FREE) for s in pair} for pair in (one, two)
        )
    assert len(same) == 1 and len(differs) == 2


def test_a_line_that_a_crash_cut_off_costs_its_row_only(tmp_path, examples):
    path = tmp_path / "kept.jsonl"
    run(path, examples, Replay(RECORDED))
    path.write_bytes(path.read_bytes()[:-20])
    again = Replay(RECORDED)
    run(path, examples, again)
    assert again.asked == [(["none"], FREE)]
    assert all(json.loads(line) for line in path.read_text().splitlines()[-1:])
    with CompletionCache(path) as cache:
        assert len(cache) == 3


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"key": "a"}', '{"key": "a", "completion": {"x": 1}}']
)
def test_what_is_no_completion_is_passed_over(tmp_path, line):
    (tmp_path / "kept.jsonl").write_text(line + "\n")
    with CompletionCache(tmp_path / "kept.jsonl") as cache:
        assert len(cache) == 0


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path):
    with CompletionCache(tmp_path / "new" / "kept.jsonl") as cache:
        cache.put("a", failed("fell over"))
    assert list(tmp_path.iterdir()) == []
