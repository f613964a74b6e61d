from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgetool.calls.runtime import Sampling
from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.eval.evaluate import evaluate
from edgetool.eval.measures import summarize
from edgetool.eval.report import write_report
from edgetool.eval.results import load_results
from edgetool.eval.tables import markdown_table, rich_table
from tests.eval.conftest import RECORDED, Replay, arm

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
METRICS = [{"step": i, "reward": 0.1 * i, "completions/mean_length": 30.0 + i} for i in range(1, 9)]
VOID = {"meta", "link", "br", "img", "path", "circle"}


def four_arms(examples, name="gguf:Q8_0"):
    """base/free wrong on "one", base/constrained wrong on "two", trained right everywhere."""
    wrong = {("base", "free"): "one", ("base", "constrained"): "two"}
    return [
        evaluate(
            Replay({**RECORDED, **({wrong[key]: ATTACK} if key in wrong else {})}, name=name),
            examples,
            model=model,
            arm=kind,
            sampling=Sampling(),
        )
        for key in [(m, k) for m in ("base", "trained") for k in ("free", "constrained")]
        for model, kind in [key]
    ]


def write(folder, arms, examples, **changes):
    facts = {"metrics": METRICS, "config": {"model": "nano"}, "fidelity": {"F16": {"delta": 0.01}}}
    facts |= {"job_seconds": 61.0, **changes}
    return write_report(folder, arms=arms, examples=examples, **facts)


@pytest.fixture
def page(tmp_path, examples):
    write(tmp_path, four_arms(examples), examples)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_holds_rows_and_job_seconds(tmp_path, examples):
    arms = four_arms(examples)
    found = json.loads(write(tmp_path, arms, examples).read_text(encoding="utf-8"))
    assert found["rows"] == [summarize(arm) for arm in arms]
    assert found["job_seconds"] == 61.0
    assert found["config"] == {"model": "nano"}
    assert {"cpu", "cores", "memory_gb", "platform"} == found["machine"].keys()


def test_every_row_of_the_report_can_be_computed_again_from_its_file(tmp_path, examples):
    found = json.loads(write(tmp_path, four_arms(examples), examples).read_text(encoding="utf-8"))
    again = [summarize(load_results(path)) for path in sorted(tmp_path.glob("results/*.jsonl"))]
    assert len(again) == 4
    assert all(row in found["rows"] for row in again)


def test_differences_are_trained_minus_base(tmp_path, examples):
    found = json.loads(write(tmp_path, four_arms(examples), examples).read_text(encoding="utf-8"))
    free, held = found["differences"]
    assert (free["runtime"], free["arm"]) == ("gguf:Q8_0", "free")
    assert free["exact_match"]["points"] == pytest.approx(100 / 3)  # 3/3 - 2/3
    assert free["exact_match"]["flipped_to_right"] == ["one"]
    assert held["exact_match"]["flipped_to_right"] == ["two"]
    assert free["irrelevance"]["points"] == 0.0


def test_the_host_is_not_named(tmp_path, examples):
    import platform

    text = write(tmp_path, four_arms(examples), examples).read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert platform.node() not in text + page


def test_numbers_json_cannot_spell_become_null(tmp_path, examples):
    path = write(tmp_path, four_arms(examples), examples, fidelity={"delta": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["fidelity"] == {"delta": None}


def test_arms_over_different_rows_write_nothing(tmp_path, examples):
    with pytest.raises(UsageError, match="did not see the same rows"):
        write(tmp_path / "new", [arm([True]), arm([True, True], "trained")], examples)
    assert not (tmp_path / "new").exists()


class Outline(HTMLParser):
    """Tags that were opened, and whether each was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_asks_for_nothing(page):
    outline = Outline(page)
    assert outline.open == []
    assert outline.links == ["data:,"]  # the empty icon, so that no browser asks for one
    assert "@import" not in page and "url(" not in page and "default-src 'none'" in page


def test_what_a_model_writes_is_shown_and_never_interpreted(page):
    assert "&lt;script&gt;alert(1)" in page
    assert not {"script", "img"} & set(Outline(page).tags)


def test_what_a_row_or_a_name_says_is_escaped(tmp_path, examples):
    hostile = replace(examples[0], messages=({"role": "user", "content": ATTACK},))
    arms = [replace(each, runtime=ATTACK) for each in four_arms(examples)]
    config, fidelity = {ATTACK: ATTACK}, {ATTACK: ATTACK}
    rows = [hostile, *examples[1:]]
    write(tmp_path, arms, rows, config=config, fidelity=fidelity)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not {"script", "img"} & set(Outline(text).tags)


def test_the_page_shows_the_square_the_curves_and_the_rows_that_flipped(page):
    # exact match, the 2x2, times, and two curves
    assert page.count('<svg class="chart"') == 5
    assert len(re.findall(r"<title id=", page)) == len(re.findall(r"<desc id=", page)) == 5
    assert "33.3 points" in page  # trained - base, free
    assert page.count('<article class="example">') == 2
    assert '<p class="said">“weather in Oslo please”</p>' in page


def test_no_more_than_twenty_disagreements_are_shown(tmp_path, examples):
    many = [Example(f"r{i}", examples[0].messages, (), ()) for i in range(50)]
    arms = [arm([False] * 50), arm([True] * 50, "trained")]
    write(tmp_path, arms, many)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<article class="example">') == 20


@pytest.mark.parametrize(
    "metrics", [[], [{"step": 1, "reward": None}], [{"step": 1, "reward": 0.5}]]
)
def test_a_report_can_be_made_of_little(tmp_path, examples, metrics):
    write(tmp_path, [arm([True])], [], metrics=metrics, config={}, fidelity={})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("No training steps" in page) == (not metrics or metrics[0]["reward"] is None)


def test_markdown_says_each_row(examples):
    text = markdown_table([summarize(arm([True, True, False, False], runtime="a|b"))])
    head, rule, line = text.splitlines()
    assert head.count("|") == rule.count("|") == line.replace("\\|", "").count("|")
    # Wilson of 2/4: centre 0.5, half width 1.959964*sqrt(0.25/4+3.841459/64)/(1+3.841459/4) = 0.35
    assert (
        line == "| base | a\\|b | free | 4 | 50.0 % [15.0, 85.0] | 50.0 % | 100.0 % | – | 10 | 10 |"
    )


def test_a_name_with_markup_is_plain_in_the_terminal():
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rich_table([summarize(arm([True], "[red]x[/red]"))]))
    assert "[red]x[/red]" in console.export_text()
