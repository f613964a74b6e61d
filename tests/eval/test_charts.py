from __future__ import annotations

import re

import pytest

from edgetool.eval.report.charts import change_bar, dots, rows_a_dot, share_bars, shared_out
from edgetool.eval.report.summary import fixed_by_grammar, plural
from edgetool.eval.report.svg import moving_average


def drawn(counts):
    """Dots by class."""
    text = dots(counts, name="d", title="Rows", description="told")
    found = re.findall(r'<path class="row (\w+)" stroke-width="[\d.]+" d="(.*?)"', text)
    return {kind: path.count("M") for kind, path in found}


def test_every_row_is_a_dot_and_what_is_wrong_is_hollow():
    counts = {"right": 3, "fixed": 2, "broken": 0, "wrong": 4}
    assert drawn(counts) == {"right": 3, "fixed": 2, "wrong": 4, "hole": 4}


@pytest.mark.parametrize(("rows", "each"), [(1, 1), (600, 1), (601, 2), (1200, 2), (6001, 11)])
def test_of_many_rows_several_share_a_dot(rows, each):
    assert rows_a_dot(rows) == each
    assert sum(drawn({"right": rows}).values()) == -(-rows // each)


def test_shared_dots_add_up():
    # 601 rows, two a dot: 301 dots; 150.5, 100 and 50 of them: the half goes to its rest
    assert shared_out({"right": 301, "fixed": 200, "wrong": 100}, 2) == {
        "right": 151,
        "fixed": 100,
        "wrong": 50,
    }


@pytest.mark.parametrize(
    ("before", "after", "kind"), [(0.2, 0.9, "better"), (0.9, 0.2, "worse"), (0.5, 0.5, "better")]
)
def test_a_change_is_coloured_by_its_direction(before, after, kind):
    assert f'class="change {kind}"' in change_bar(before, after)


def test_a_long_name_has_room_beside_its_bar():
    entry = {"value": 0.5, "low": 0.4, "high": 0.6}
    starts = []
    for name in ("base, free", "models/mine/a.Q8_0, free"):
        text = share_bars([{**entry, "label": name}], name="b", title="t")
        starts.append(float(re.search(r'class="bar" d="M([\d.]+)', text)[1]))
    assert starts[0] == 128.0 and starts[1] > starts[0]


def test_a_short_run_is_averaged_over_five_steps():
    values = [0.0, 10.0, 0.0, 10.0, 0.0, 10.0, 0.0]
    smooth = [y for _, y in moving_average(list(enumerate(values)))]
    # the ends: (0 + 10 + 0)/3; then (0 + 10 + 0 + 10)/4; the middle: five values each
    assert smooth == pytest.approx([10 / 3, 5.0, 4.0, 6.0, 4.0, 5.0, 10 / 3])


def test_a_grammar_that_changed_nothing_is_said_in_a_line():
    exact = {"flipped_to_right": [], "flipped_to_wrong": [], "points": 0.0, "ci95": [-1.0, 1.0]}
    change = {"arm": "constrained", "model": "m", "exact_match": exact}
    left = [{"kind": "wrong_value", "removed": 0, "made": 0, "left": 3}]
    said = fixed_by_grammar({**change, "classes": left})
    assert said == "The grammar (constrained, m) changed no error of any row."
    gone = [{"kind": "unclosed", "removed": 2, "made": 0, "left": 0}]
    assert "2 of 2 errors of syntax are gone" in fixed_by_grammar({**change, "classes": gone})


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1200, "1,200 rows")]
)
def test_one_row_is_not_rows(count, text):
    assert plural(count, "row") == text
