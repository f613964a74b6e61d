"""`edgetool bench device`: a table to paste, from a real file in llama.cpp."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from edgetool.catalogue import locate
from edgetool.commands.bench import run_bench_device
from edgetool.errors import ModelError, UsageError

pytest.importorskip("llama_cpp")


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    from edgetool.commands.export import ExportOptions, run_export

    out = tmp_path_factory.mktemp("nano")
    run_export(locate("nano"), ExportOptions(["Q8_0"], out=out), Console(file=io.StringIO()))
    [file] = out.glob("*.gguf")
    return file


def test_both_arms_are_measured_and_shown_as_markdown(nano):
    out = io.StringIO()
    console = Console(file=out, width=200)
    free, constrained = run_bench_device(nano, console, rows=3, max_completion_length=24)
    assert (free.arm, constrained.arm) == ("free", "constrained")
    for speed in (free, constrained):
        assert speed.rows == 3 and speed.tokens_per_s > 0 and speed.first_token_s > 0
        assert speed.peak_mb > 30 and speed.prompt_tokens > 50
    lines = out.getvalue().splitlines()
    assert lines[2].startswith("| arm |") and len(lines) == 6
    assert all(line.count("|") == 6 for line in lines[2:])


def test_the_first_token_waits_for_the_whole_prompt(nano):
    # The rows' tools are the same, so most of a prompt could come out of the cache.
    [free, _] = run_bench_device(
        nano, Console(file=io.StringIO()), rows=3, max_completion_length=24
    )
    # reading hundreds of tokens takes longer than writing one
    assert free.first_token_s > 2 / free.tokens_per_s


def test_json_is_the_same(nano, capsys):
    run_bench_device(nano, Console(), rows=1, max_completion_length=8, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["arm"] for row in rows] == ["free", "constrained"]


@pytest.mark.parametrize(("rows", "length"), [(0, 8), (1, 1), (-1, 8)])
def test_nothing_to_measure_is_refused(nano, rows, length):
    with pytest.raises(UsageError, match="expected at least"):
        run_bench_device(nano, Console(), rows=rows, max_completion_length=length)


def test_what_is_no_gguf_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        run_bench_device(tmp_path / "x.gguf", Console(), rows=1, max_completion_length=8)
