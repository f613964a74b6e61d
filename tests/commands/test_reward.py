"""`edgetool reward list` and `try`, as a user reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from edgetool import rewards
from edgetool.calls.types import Example, ExpectedCall
from edgetool.commands.reward import list_rewards, try_rewards, weighted_rewards
from edgetool.data.rows import write_rows
from edgetool.errors import UsageError
from edgetool.rewards.schedule import Schedule
from edgetool.train.settings import RewardSettings
from tests.conftest import user, weather_tool

OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=132)


Try = Callable[..., str]


@pytest.fixture
def tried(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """What `reward try` prints for one of two rows."""
    monkeypatch.chdir(tmp_path)
    rome = ExpectedCall("get_weather", {"city": "Rome", "days": 3})
    tools = (weather_tool(),)
    examples = [
        Example("rome", user("weather in\n\x1b[31mRome"), tools, (rome,)),
        Example("joke", user("tell me a joke"), tools, ()),
    ]
    write_rows(tmp_path / "rows.jsonl", examples)

    def run(completion: str, **options: object) -> str:
        try_rewards("rows.jsonl", completion, console, **options)  # type: ignore[arg-type]
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    return run


def test_every_reward_is_listed_with_a_summary(console: Console) -> None:
    list_rewards(console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    for name in rewards.names():
        [line] = [line for line in lines if line.startswith(f"{name} ")]
        assert len(line.split()) > 6
    assert "…" not in "".join(lines)


def test_a_broken_package_does_not_hide_the_others(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "offers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: offers\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[edgetool.rewards]\ngone = no_such_module:gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    list_rewards(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "reward 'gone' cannot be imported: ModuleNotFoundError" in " ".join(text.split())
    assert "toolrl" in text


def test_every_component_and_every_mistake_is_shown(tried: Try) -> None:
    lines = tried(OSLO).splitlines()
    assert lines[0] == "row      rome: weather in �[31mRome"  # nothing steers the terminal
    assert lines[1] == 'expected get_weather({"city": "Rome", "days": 3})'
    assert lines[2] == 'read as  hermes: get_weather({"city": "Oslo"})'
    assert '         call 1 (get_weather): city = "Oslo", expected "Rome"' in lines
    assert "         call 1 (get_weather): days is missing, expected 3" in lines
    scores = {line.split()[0]: line.split()[1] for line in lines[-len(rewards.names()) :]}
    # paper: 0.125 + 0.375 + 0; toolrl: R = 1 + 1/2 + 0 of 4, so 1 + 6 * 1.5/4 - 3
    assert scores["paper"] == "0.5" and scores["toolrl"] == "0.25" and scores["exact"] == "0"


def test_a_configuration_says_what_each_component_counts_for(tried: Try, tmp_path: Path) -> None:
    falling = "no_extra_text: {weight: 0.375, until: 0.9, then: 0}"
    config = tmp_path / "my.yaml"
    config.write_text(
        f"model: nano\noutput_dir: runs/x\nrewards: {{paper: 0.5, {falling}, length: 1}}\n"
    )
    lines = tried("Why did the chicken cross?", row="joke", config=config).splitlines()
    assert lines[1] == "expected no call"
    assert [line.split() for line in lines[-4:]] == [
        ["paper", "1", "0.5", "0.5"],
        ["no_extra_text", "1", "0.375", "0.375"],
        ["length", "-", "1", "-"],  # nothing to say where no call is expected
        ["reward", "0.875"],
    ]


@pytest.mark.parametrize(
    ("completion", "syntax"),
    [
        (OSLO, "hermes"),
        ('[{"name": "get_weather", "arguments": {"city": "Oslo"}}]', "json"),
    ],
)
def test_the_call_syntax_is_the_one_that_reads_the_completion(
    tried: Try, completion: str, syntax: str
) -> None:
    assert f'read as  {syntax}: get_weather({{"city": "Oslo"}})' in tried(completion)


def test_a_call_syntax_can_be_named(tried: Try) -> None:
    assert "read as  json: no call" in tried("Oslo", call_syntax="json")


def test_ones_own_function_can_be_tried_and_its_traceback_is_shown(
    tried: Try, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def broken(completions):\n    return 1 / 0\n")
    text = tried(OSLO, names=["mine.py:broken", "paper"])
    assert "reward 'broken' on 1 completions raised:" in text and "ZeroDivisionError" in text


def test_a_reward_goes_by_its_functions_name_and_carries_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def brevity(completions):\n    return [0.0]\n")
    settings = {
        "mine.py:brevity": RewardSettings(0.5, until=0.9, then=0.1),
        "paper": RewardSettings(),
    }
    mine, paper = weighted_rewards(settings)
    assert (mine.name, mine.weight, mine.schedule) == ("brevity", 0.5, Schedule(0.9, 0.1, 10))
    assert paper.schedule is None


def test_two_rewards_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def paper(parsed, example):\n    return 0.0\n")
    with pytest.raises(UsageError, match="two rewards are called 'paper'"):
        weighted_rewards({"mine.py:paper": RewardSettings(), "paper": RewardSettings()})


def test_a_lone_surrogate_is_shown_as_a_replacement(tried: Try) -> None:
    assert "get_weather" in tried(
        json.dumps([{"name": "get_weather", "arguments": {"city": "\ud800"}}])
    )
