from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.errors import UsageError
from edgetool.eval.evaluate import evaluate
from edgetool.eval.metrics import summarize
from edgetool.eval.report import report
from edgetool.eval.report.report import write_report
from edgetool.eval.report.tables import markdown_table, rich_table
from edgetool.eval.results import load_results, open_finished
from edgetool.runtime import Sampling
from tests.eval.conftest import RECORDED, Replay, arm

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
METRICS = [{"step": i, "reward": 0.1 * i, "completions/mean_length": 30.0 + i} for i in range(1, 9)]
VOID = {"meta", "link", "br", "img", "input", "path", "circle"}


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
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def is_clean(text):
    """One script, ours, which the page's policy names; no handler, no image, nothing from afar."""
    outline = Outline(text)
    [script] = outline.scripts
    own = (Path(report.__file__).parent / "report.js").read_text(encoding="utf-8")
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        script == own
        and outline.tags.count("script") == 1
        and f"script-src 'sha256-{named}'" in text
        and not outline.handlers
        and "img" not in outline.tags
    )


def test_the_page_is_well_formed_and_asks_for_nothing(page):
    outline = Outline(page)
    assert outline.open == []
    assert outline.links[0] == "data:,"  # the empty icon, so that no browser asks for one
    assert all(link == "data:," or link.removeprefix("#") in outline.ids for link in outline.links)
    assert len(outline.ids) == len(set(outline.ids))
    assert "@import" not in page and "url(" not in page and "default-src 'none'" in page
    assert not re.search(r"https?://", page)


def test_what_a_model_writes_is_shown_and_never_interpreted(page):
    assert "&lt;script&gt;alert(1)" in page
    assert is_clean(page)


def test_what_a_row_a_tool_or_a_name_says_is_escaped(tmp_path, examples):
    tool = Tool(ATTACK, ATTACK, {"type": "object"})
    want = ExpectedCall(ATTACK, {ATTACK: ATTACK})
    hostile = replace(
        examples[0],
        id=ATTACK,
        messages=({"role": "user", "content": ATTACK},),
        tools=(tool,),
        calls=(want,),
    )
    rows = [hostile, *examples[1:]]
    made = '<tool_call>{"name": "x", "arguments": {"</code><script>": "<script>"}}</tool_call>'
    arms = [
        evaluate(
            Replay({**RECORDED, ATTACK: made}, name=ATTACK),
            rows,
            model=model,
            arm="free",
            sampling=Sampling(),
        )
        for model in ("base", "trained")
    ]
    about = {"model": ATTACK, "task": ATTACK, "command": f"`{ATTACK}</script>`"}
    config, fidelity = {ATTACK: ATTACK}, {ATTACK: ATTACK}
    names = {"base": ATTACK, "trained": ATTACK}
    write(tmp_path, arms, rows, config=config, fidelity=fidelity, about=about, names=names)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert is_clean(text) and Outline(text).open == []


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("hello", "“hello”"),
        (None, "“”"),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, 3, {"text": "b"}], "“a b”"),
    ],
)
def test_a_message_of_parts_is_shown_as_its_text(tmp_path, examples, content, shown):
    row = replace(examples[0], messages=({"role": "user", "content": content},))
    write(tmp_path, [arm([True]), arm([False], "trained")], [replace(row, id="r0")])
    assert shown in (tmp_path / "report.html").read_text(encoding="utf-8")


EXAMPLE = '<article class="example '


def test_the_page_shows_the_square_the_curves_and_the_rows_that_flipped(page):
    # the rows as dots, exact match, the 2x2, times, and two curves
    assert page.count('<svg class="chart"') == 6
    assert len(re.findall(r"<title id=", page)) == len(re.findall(r"<desc id=", page)) == 6
    assert "33.3 points" in page  # trained - base, free
    assert page.count(EXAMPLE) == 2
    assert '<p class="said">“weather in Oslo please”</p>' in page


def test_the_headline_comes_before_everything_and_its_p_value_behind(page):
    # base free is wrong on "one" of three, trained on none
    assert "<title>nano: 67 % → 100 % exactly right · edgetool report</title>" in page
    places = [page.index(text) for text in ("67 %<small>", "100 %<small>", "McNemar p", EXAMPLE)]
    assert places == sorted(places)
    assert page.index('id="examples"') < page.index('id="tools"') < page.index('id="training"')


def test_one_file_has_no_before_and_after(tmp_path, examples):
    [only] = [replace(a, model="my.Q8_0") for a in four_arms(examples)[:1]]
    write(tmp_path, [only], examples, config={}, metrics=[])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<title>my.Q8_0: 67 % exactly right · edgetool report</title>" in page
    assert (
        "before training" not in page and "fixed" not in page.split("<header")[1].split("<main")[0]
    )


def test_arms_that_agree_are_said_once(tmp_path, examples):
    free = [a for a in four_arms(examples) if a.arm == "free"]
    held = [replace(a, arm="constrained") for a in free]
    write(tmp_path, [*free, *held], examples)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Free and constrained decoding get the same requests right.") == 2  # + paste
    assert "Training × decoding" not in page  # a square of two equal columns says nothing
    assert '<td class="where">free, constrained</td>' in page
    assert "base, each arm" in page


def test_the_page_can_be_pasted_as_markdown(tmp_path, examples):
    write(
        tmp_path,
        four_arms(examples),
        examples,
        about={"model": "nano", "command": "edgetool eval x"},
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text in html.unescape(page)
    assert text.startswith("**nano. Requests answered")


def test_two_files_stand_under_their_own_names(tmp_path, examples):
    names = {"base": "one/x", "trained": "two/x"}
    write(tmp_path, four_arms(examples), examples, names=names, metrics=[], config={})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    body = page.partition("</style>")[2].partition('<section class="summary"')[0]
    assert "one/x" in body and "two/x" in body
    assert not re.search(r"\b(base|trained)\b", body)


def test_every_step_is_drawn_and_the_held_out_score_beside_it(tmp_path, examples):
    metrics = [{"step": i, "exact": 0.3 + 0.01 * i} for i in range(1, 61)]
    write(tmp_path, four_arms(examples), examples, metrics=metrics)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    [raw] = re.findall(r'<path class="raw" d="(.*?)"/>', page)
    assert raw.count("M") == 60
    assert page.count('<path class="held"') == 2
    assert "Held out, at step 0: 66.7. Held out, at step 60: 100." in page


def test_a_report_written_again_keeps_its_day_and_machine(tmp_path, examples):
    old = {"date": "2020-01-02", "machine": {"cpu": "abacus", "cores": 1, "platform": "stone"}}
    path = write(
        tmp_path, four_arms(examples), examples, measured={**old, "versions": {"edgetool": "0"}}
    )
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["date"], found["machine"]["cpu"]) == ("2020-01-02", "abacus")
    assert "abacus" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_expected_call_from_a_stored_report_is_whole(tmp_path, examples):
    want = ExpectedCall("get_weather", {"city": "Oslo"}, {"city": ("oslo",)}, frozenset({"days"}))
    rows = [replace(examples[0], calls=(want,), rules="strict"), *examples[1:]]
    write(tmp_path, four_arms(rows), rows)
    [first, *_] = open_finished(str(tmp_path)).examples()
    assert first.calls == (want,)


def test_no_more_than_twenty_disagreements_are_shown(tmp_path, examples):
    many = [Example(f"r{i}", examples[0].messages, (), ()) for i in range(50)]
    arms = [arm([False] * 50), arm([True] * 50, "trained")]
    write(tmp_path, arms, many)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(EXAMPLE) == 20


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
