from __future__ import annotations

from dataclasses import replace

import pytest

from edgetool.errors import DataError
from edgetool.eval.evaluate import evaluate
from edgetool.eval.metrics import summarize
from edgetool.eval.results import dump_results, load_results
from edgetool.runtime import Sampling
from tests.eval.conftest import RECORDED, Replay, arm


def recorded_arm(examples, failing):
    runtime = Replay({**RECORDED, "two": failing}, name="gguf:Q8_0")
    return evaluate(runtime, examples, model="trained", arm="free", sampling=Sampling())


def test_rows_come_back_as_they_were(tmp_path, examples, failing):
    result = recorded_arm(examples, failing)
    path = dump_results(tmp_path, result)
    assert path.name == "trained.gguf-Q8_0.free.jsonl"
    assert load_results(path) == result
    assert summarize(load_results(path)) == summarize(result)


@pytest.mark.parametrize("text", ["\ud800 half a pair", "a\u2028b\x85c", "\x00\x1b[31m", "日本"])
def test_any_text_a_model_writes_survives(tmp_path, text):
    result = arm([True])
    result = replace(result, results=(replace(result.results[0], text=text),))
    assert load_results(dump_results(tmp_path, result)) == result


def test_nothing_but_the_finished_file_is_left(tmp_path):
    dump_results(tmp_path, arm([True]))
    dump_results(tmp_path, arm([False]))
    [path] = tmp_path.iterdir()
    assert not load_results(path).results[0].verdict.exact


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"model": "base"}', '{"a": 1}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = dump_results(tmp_path, arm([True]))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"base\.r\.free\.jsonl:2: not a row result"):
        load_results(path)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(DataError, match="found 0 arms"):
        load_results(tmp_path / "x.jsonl")
