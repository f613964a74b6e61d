"""`edgetool run` as it is typed: one question, a chat, and functions that run after a yes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from edgetool.calls.types import ToolCall
from edgetool.commands.run import Asking, run_ask, shown
from edgetool.errors import UsageError

FUNCTIONS = '''
def get_weather(city: str, days: int = 1) -> str:
    """Weather forecast for a city

    Args:
        city: City name
        days: Days ahead
    """
    with open("asked.txt", "a") as file:
        file.write(city + "\\n")
    return "rain"


def play_music(artist: str) -> None:
    """Play music

    Args:
        artist: Who performs
    """
    raise RuntimeError("no loudspeaker")
'''
WEATHER = {"name": "get_weather", "arguments": {"city": "Oslo"}}
LENGTH = ("--max-completion-length", "60")


@pytest.fixture
def folder(tmp_path, nano_gguf):
    (tmp_path / "tools.py").write_text(FUNCTIONS)
    (tmp_path / "model.gguf").symlink_to(nano_gguf)
    return tmp_path


def run(folder, *arguments, said=""):
    command = [sys.executable, "-m", "edgetool", "run", "model.gguf", *arguments]
    return subprocess.run(
        command, input=said, capture_output=True, text=True, cwd=folder, timeout=600
    )


def asked(folder):
    path = folder / "asked.txt"
    return path.read_text().split() if path.exists() else []


@pytest.mark.slow
def test_a_question_prints_the_call_and_runs_nothing(folder):
    done = run(folder, "weather in Oslo", "--tools", "tools.py")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == WEATHER
    assert asked(folder) == []


@pytest.mark.slow
def test_no_call_exits_with_3(folder):
    done = run(folder, "tell me a joke", "--tools", "tools.py", "--json")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert answer["calls"] == [] and answer["text"]


@pytest.mark.slow
def test_with_yes_the_call_runs_and_its_result_is_read(folder):
    done = run(folder, "weather in Oslo", "--exec", "tools.py", "--yes", "--json", *LENGTH)
    assert asked(folder)[0] == "Oslo"
    assert json.loads(done.stdout)["calls"][0] == {**WEATHER, "outcome": "ran", "result": "rain"}
    assert "get_weather ran: 'rain'" in done.stderr


@pytest.mark.slow
def test_lines_of_standard_input_are_a_chat(folder):
    said = "weather in Oslo\n\n/clear\nweather in Oslo\nexit\nweather in Rome\n"
    done = run(folder, "--tools", "tools.py", said=said)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [WEATHER, WEATHER]
    assert done.returncode == 0


@pytest.mark.slow
def test_a_chat_that_is_too_long_says_so_and_goes_on(folder):
    done = run(folder, "--tools", "tools.py", said=f"{'word ' * 5000}\nweather in Oslo\n")
    assert json.loads(done.stdout) == WEATHER
    assert "/clear begins again" in done.stderr


def answer_on_a_terminal(folder, reply):
    """What a terminal shows of `run --exec` when `reply` is typed at the first question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgetool", "run", "model.gguf", "weather in Oslo"]
    process = subprocess.Popen(
        [*command, "--exec", "tools.py", "--rounds", "1", *LENGTH],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        cwd=folder,
    )
    os.close(theirs)
    screen, end = b"", time.monotonic() + 300
    while b"[y/N]" not in screen and time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            screen += os.read(ours, 4096)
    os.write(ours, reply.encode() + b"\n")
    process.wait(300)
    os.close(ours)
    return screen.decode()


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "ran"), [("y", ["Oslo"]), ("n", []), ("", []), ("sure", [])])
def test_only_a_yes_runs_a_call(folder, reply, ran):
    screen = answer_on_a_terminal(folder, reply)
    assert "run get_weather(city='Oslo')? [y/N]" in screen
    assert asked(folder) == ran


def chat_on_a_terminal(folder, *typed):
    """What a terminal shows of a chat; each text is typed when the prompt is there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgetool", "run", "model.gguf", "--tools", "tools.py"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    screen, waiting, end = b"", list(typed), time.monotonic() + 300
    while time.monotonic() < end:
        try:
            screen += os.read(ours, 4096) if select.select([ours], [], [], 1)[0] else b""
        except OSError:  # the terminal is closed: the program has ended
            break
        if waiting and screen.count(b"> ") > len(typed) - len(waiting):
            os.write(ours, waiting.pop(0).encode())
    os.close(ours)
    return screen.decode(), process.wait(60)


@pytest.mark.slow
def test_a_chat_on_a_terminal_shows_prose_once_and_ends_with_ctrl_d(folder):
    screen, code = chat_on_a_terminal(folder, "tell me a joke\n", "weather in Oslo\n", "\x04")
    assert "/bye, exit or Ctrl-D leaves" in screen
    assert screen.count("No tool fits.") == 1
    assert screen.count(json.dumps(WEATHER)) == 1
    assert code == 0


@pytest.mark.slow
def test_commands_of_a_chat_are_not_for_the_model(folder):
    said = "/tools\n/help\n/sing a song\nquit\nweather in Oslo\n"
    done = run(folder, "--tools", "tools.py", said=said)
    assert done.stdout == ""
    assert "get_weather(city, [days])  Weather forecast for a city" in done.stderr
    assert "/clear, /new" in done.stderr
    assert "/sing: no such command" in done.stderr


@pytest.mark.parametrize(
    ("asking", "complaint"),
    [
        ({"exec": "tools.py"}, "add --yes"),
        ({"yes": True}, "name your functions with --exec"),
        ({"rounds": 2}, "name your functions with --exec"),
        ({"exec": "none.py", "yes": True}, "no Python file at none.py"),
        ({"tools": "none.py"}, "no Python file at none.py"),
        ({"tools": "none.json"}, "no tools at none.json"),
    ],
)
def test_what_cannot_work_is_said_before_the_model_is_loaded(
    tmp_path, monkeypatch, asking, complaint
):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    paths = {k: Path(v) if isinstance(v, str) else v for k, v in asking.items()}
    with pytest.raises(UsageError, match=complaint):
        run_ask(Path("no_model.gguf"), Asking("hi", **paths))


@pytest.mark.parametrize("text", ["\x1b[2K", "\r", "a\nb", "\u202e", "\x00"])
def test_what_the_user_decides_by_hides_nothing(text):
    line = shown(ToolCall("f", {"x": text, text: 1}))
    assert line.isprintable()
