"""A user's own rewards, from a file, a module or an installed package."""

from __future__ import annotations

import sys
import types

import pytest

from edgetool import rewards
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example
from edgetool.errors import UsageError

SOURCE = """
from dataclasses import dataclass

@dataclass
class Room:
    letters: int = 10

def brevity(completions, **columns):
    return [Room().letters / len(c[0]["content"]) for c in completions]

def half(parsed, example):
    return 0.5

def three(a, b, c):
    return 0.0

async def later(completions):
    return []

number = 3
"""
ROW = Example("r", (), (), ())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def test_a_function_of_a_file_is_found_from_the_working_directory(here):
    assert rewards.get("mine.py:half")(Parsed(), ROW) == 0.5
    assert rewards.get(f"{here}/mine.py:half")(Parsed(), ROW) == 0.5
    assert rewards.get("mine.py:brevity")([[{"content": "12345"}]]) == [2.0]


def test_a_function_of_a_module_is_found_by_its_dotted_name(monkeypatch):
    module = types.ModuleType("somebodys.rewards")
    module.half = lambda parsed, example: 0.5
    monkeypatch.setitem(sys.modules, "somebodys", types.ModuleType("somebodys"))
    monkeypatch.setitem(sys.modules, "somebodys.rewards", module)
    assert rewards.get("somebodys.rewards:half")(Parsed(), ROW) == 0.5


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("none.py:half", "no file at none.py; the path counts from"),
        ("mine.py:halve", "has no 'halve'; its functions: brevity, half, three, later"),
        ("mine.py:number", "is 3, which cannot be called"),
        ("mine.py:later", "is async"),
        ("mine.py:three", r"takes \(a, b, c\); expected \(parsed, example\), or \(prompts"),
        ("no_such_package:half", "cannot be imported: ModuleNotFoundError"),
        ("broken.py:half", "cannot be imported: ZeroDivisionError"),
        ("halve", "known: abstain, .*; your own: file.py:function"),
    ],
)
def test_what_cannot_be_a_reward_is_refused_with_the_reason(here, name, complaint):
    (here / "broken.py").write_text("1 / 0")
    with pytest.raises(UsageError, match=complaint):
        rewards.get(name)


def test_an_installed_package_offers_rewards_by_name(here, monkeypatch):
    package = here / "site"
    (package / "offers-1.0.dist-info").mkdir(parents=True)
    (package / "offers-1.0.dist-info" / "METADATA").write_text("Name: offers\nVersion: 1.0\n")
    (package / "offers-1.0.dist-info" / "entry_points.txt").write_text(
        "[edgetool.rewards]\npoliteness = offers:politeness\nexact = offers:politeness\n"
    )
    (package / "offers.py").write_text("def politeness(parsed, example):\n    return 0.25\n")
    monkeypatch.syspath_prepend(package)
    assert "politeness" in rewards.names() and "offers" not in sys.modules  # named, not yet run
    assert rewards.get("politeness")(Parsed(), ROW) == 0.25
    assert rewards.origin("politeness") == "offers:politeness"
    assert rewards.get("exact")(Parsed(), ROW) == 1.0  # edgetool's own names stay its own
    monkeypatch.delitem(sys.modules, "offers")
