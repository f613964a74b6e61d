from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgetool.errors import UsageError
from edgetool.eval.compare import compare_facts, comparison_tables
from edgetool.eval.results import (
    Finished,
    all_finished,
    called,
    distinct,
    open_finished,
    relabelled,
    results_folder,
)
from tests.eval.conftest import arm
from tests.eval.test_report import four_arms, write


def finished(name, *arms):
    return Finished(name, None, list(arms), {})


@pytest.mark.parametrize(
    ("target", "folder"),
    [
        ("runs/my.Q8_0.gguf", "runs/my.Q8_0.eval"),
        ("http://127.0.0.1:8080/v1", "127-0-0-1-8080-v1.eval"),
        ("models/merged", "models/merged.eval"),
    ],
)
def test_where_an_evaluation_is_kept(target, folder):
    assert str(results_folder(target)) == folder


def test_a_run_keeps_its_evaluation_inside(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert results_folder(str(tmp_path)) == tmp_path / "eval"


def test_what_was_never_evaluated_says_how_to(tmp_path):
    with pytest.raises(UsageError, match=r"has not been evaluated; `edgetool eval .*x.gguf --data"):
        open_finished(str(tmp_path / "x.gguf"))


def test_a_report_is_read_back_in_its_order(tmp_path, examples):
    arms = four_arms(examples)
    write(tmp_path / "x.eval", arms, examples)
    found = open_finished(str(tmp_path / "x.gguf"))
    assert found.arms == arms and found.name == "x"
    assert [e.id for e in found.examples()] == [e.id for e in examples]
    assert [e.tools for e in found.examples()] == [e.tools for e in examples]


def test_two_files_are_taken_for_base_and_trained():
    arms = relabelled(
        [finished("a", arm([True], "model.A")), finished("b", arm([True], "model.B"))]
    )
    assert [each.model for each in arms] == ["base", "trained"]


def test_what_stands_behind_base_and_trained_is_said():
    both = [finished("a", arm([True], "m")), finished("b", arm([True], "m"))]
    assert called(both) == {"base": "a", "trained": "b"}
    assert called([*both, finished("c", arm([True], "m"))]) == {}


@pytest.fixture
def put_out(tmp_path, examples, monkeypatch):
    """Two files that share a name, evaluated with --out."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        config = {"target": f"{name}/model.gguf"}
        write(tmp_path / "results" / name, four_arms(examples), examples, config=config)
    return tmp_path


def test_an_evaluation_is_found_where_out_put_it(put_out):
    found = open_finished("one/model.gguf")
    assert found.folder.resolve() == put_out / "results" / "one" and found.name == "model"
    assert found.facts["config"]["target"] == "one/model.gguf"


def test_of_two_that_out_put_somewhere_the_newest_is_taken(put_out, examples):
    again = write(
        put_out / "later", four_arms(examples), examples, config={"target": "one/model.gguf"}
    )
    newer = again.stat().st_mtime + 60
    os.utime(again, (newer, newer))
    assert open_finished("one/model.gguf").folder.resolve() == put_out / "later"


def test_a_report_of_another_program_is_passed_over(put_out):
    for text in ("[]", "no json", '{"config": {"target": 3}}'):
        (put_out / "other").mkdir(exist_ok=True)
        (put_out / "other" / "report.json").write_text(text)
        assert open_finished("two/model.gguf").folder.name == "two"


def test_a_folder_of_evaluations_gives_all_of_them(put_out):
    assert [each.name for each in all_finished("results")] == ["one", "two"]
    with pytest.raises(UsageError, match="holds 2 evaluations; name one of: results/one, results"):
        open_finished("results")


def test_two_of_one_name_are_called_after_their_files(put_out):
    found = distinct([open_finished("one/model.gguf"), open_finished("two/model.gguf")])
    assert [each.name for each in found] == ["one/model", "two/model"]


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("a/x.gguf", "b/x.gguf", "c/y.gguf"), ["a/x", "b/x", "y"]),
        (("a/q/x.gguf", "b/q/x.gguf"), ["a/q/x", "b/q/x"]),
        (("a/x.gguf", "a/x.gguf"), ["x (1)", "x (2)"]),  # one file, measured twice
    ],
)
def test_as_many_folders_as_it_takes_stand_before_a_name(tmp_path, targets, names):
    given = [Finished(Path(t).stem, tmp_path, [], {"config": {"target": t}}) for t in targets]
    assert [each.name for each in distinct(given)] == names


def test_more_are_called_after_what_was_typed():
    both = [arm([True], "base"), arm([True], "trained")]
    arms = relabelled([finished("a", *both), finished("b", arm([True], "m"))])
    assert [each.model for each in arms] == ["a/base", "a/trained", "b"]


def test_pairs_have_the_same_arm_and_category():
    first = [arm([True, False], "a"), replace(arm([True, True], "a"), category="x")]
    second = [arm([True, True], "b"), replace(arm([False, False], "b"), category="x")]
    facts = compare_facts([*first, *second])
    assert [(p["category"], p["points"]) for p in facts["pairs"]] == [("", 50.0), ("x", -100.0)]
    assert facts["pairs"][0]["flipped_to_right"] == ("r1",)


def test_what_did_not_see_the_same_rows_is_said_and_not_compared():
    [pair] = compare_facts([arm([True], "a"), arm([True, False], "b")])["pairs"]
    assert "did not see the same rows" in pair["not_comparable"]


def test_two_quantizations_have_their_square_too():
    arms = [
        arm(right, model, f"gguf:{model}", kind)
        for model, kind, right in [
            ("base", "free", [0, 0]),
            ("base", "constrained", [1, 0]),
            ("trained", "free", [1, 1]),
            ("trained", "constrained", [1, 1]),
        ]
    ]
    [square] = compare_facts(arms)["squares"]
    # (2 - 1)/2 - (2 - 0)/2
    assert square["points"] == -50.0 and square["runtime"] == "gguf:base / gguf:trained"
    assert (square["fixed"], square["given"]) == (2, 1)


def test_the_tables_say_it_in_a_terminal():
    import io

    from rich.console import Console

    arms = [arm([True, False], "a"), arm([True, True], "b")]
    console = Console(width=160, record=True, file=io.StringIO())
    for table in comparison_tables(compare_facts(arms)):
        console.print(table)
    assert "+50.0" in console.export_text()


def test_two_files_stand_under_their_own_names_in_every_table():
    import io

    from rich.console import Console

    files = [
        Finished(name, None, [arm([right], "m", kind=k) for k in ("free", "constrained")], {})
        for name, right in (("a/x", 0), ("b/x", 1))
    ]
    console = Console(width=160, record=True, file=io.StringIO())
    facts = compare_facts(relabelled(files), called(files))
    for table in comparison_tables(facts):
        console.print(table)
    text = console.export_text()
    assert [row["model"] for row in facts["rows"]] == ["a/x", "a/x", "b/x", "b/x"]
    assert text.count("a/x") == text.count("b/x") == 5  # two arms, two pairs, the square
    assert not re.search(r"\b(base|trained)\b", text)


def test_facts_are_plain_json(examples):
    facts = compare_facts(four_arms(examples))
    assert json.loads(json.dumps(facts))["rows"][0]["model"] == "base"
