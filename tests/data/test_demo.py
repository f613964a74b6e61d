"""The bundled rows keep what they promise."""

from __future__ import annotations

import pytest

from edgetool.calls.json_text import dumps
from edgetool.calls.judge.match import judge
from edgetool.calls.syntaxes.base import Parsed
from edgetool.data import demo
from edgetool.data.rows import parse_row, row_of
from edgetool.errors import UsageError


def test_splits_share_no_utterance():
    said = {
        split: {u.text.casefold() for u in demo.read_utterances(split)} for split in demo.SPLITS
    }
    assert not said["train"] & said["validation"]
    assert not said["pretrain"] & said["validation"]
    assert not said["pretrain"] & said["train"]


def test_about_fifteen_percent_of_rows_expect_no_call():
    rows = demo.examples("train")
    share = sum(not row.calls for row in rows) / len(rows)
    # 3500 draws at 0.15: standard deviation 0.006
    assert abs(share - demo.NO_CALL_SHARE) < 0.02


def test_a_row_that_expects_no_call_lacks_the_needed_tool():
    needed = {u.text: u.tool for u in demo.read_utterances("validation")}
    for row in demo.examples("validation"):
        offered = {tool.name for tool in row.tools}
        assert (needed[row.messages[0]["content"]] in offered) == bool(row.calls)


def test_rows_offer_several_tools_the_needed_one_in_any_place():
    rows = [row for row in demo.examples("train") if row.calls]
    sizes = {len(row.tools) for row in rows}
    places = {[t.name for t in row.tools].index(row.calls[0].name) for row in rows}
    assert sizes == {2, 3, 4} and places == {0, 1, 2, 3}


def test_argument_values_are_spans_of_the_utterance():
    for row in demo.examples("validation"):
        for call in row.calls:
            assert all(value in row.messages[0]["content"] for value in call.arguments.values())


def test_every_row_passes_the_checks_that_users_rows_pass():
    for row in demo.examples("validation"):
        assert parse_row(dumps(row_of(row)), "x") == row
        assert judge(Parsed(row.calls), row.calls).exact


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert demo.examples("train", 50) == demo.examples("train", 50)
    assert demo.examples("train", 50) != demo.examples("train", 50, seed=1)


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match="'test'; known: train, validation, pretrain"):
        demo.examples("test")
