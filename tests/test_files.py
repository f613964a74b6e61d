from __future__ import annotations

import pytest

from edgetool.files import read_log


def test_a_log_that_is_not_there_has_no_rows(tmp_path):
    assert read_log(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("torn", ['{"step": 3, "rew', '{"step"', "[1", "3"])
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path, torn):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n' + torn)
    assert read_log(log) == [{"step": 1}, {"step": 2}]
