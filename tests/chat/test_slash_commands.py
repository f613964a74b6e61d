"""What is typed in a chat: commands and questions."""

from __future__ import annotations

import pytest

from edgetool.calls.types import Tool
from edgetool.chat.slash_commands import BANNER, command_of, help_text, tools_text, unknown


@pytest.mark.parametrize(
    "line", ["/bye", "exit", "quit", "bye", "/exit\n", "/quit", " Quit ", "EXIT"]
)
def test_words_that_leave(line: str) -> None:
    assert command_of(line) == "/bye"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/help", "/help"),
        ("/?", "/help"),
        ("/clear", "/clear"),
        ("/new", "/clear"),
        ("/tools\n", "/tools"),
        ("/tools please", "/tools"),
        ("/sing a song", "/sing"),
        ("/set temperature 1", "/set"),
    ],
)
def test_a_word_with_a_slash_is_a_command_whether_it_is_known_or_not(
    line: str, command: str
) -> None:
    assert command_of(line) == command


@pytest.mark.parametrize(
    "line",
    ["quit smoking", "exit code 3?", "/etc/passwd is what?", " /sing", "/", "", "1/2", "help me"],
)
def test_other_lines_are_for_the_model(line: str) -> None:
    assert command_of(line) is None


def test_an_unknown_command_names_the_way_out() -> None:
    assert unknown("/sing").startswith("/sing: no such command, nothing was sent; /help lists them")


def test_banner_and_help_name_every_command() -> None:
    for command in ("/help", "/tools", "/clear", "/bye", "exit"):
        assert command in BANNER
        assert command in help_text()


def test_tools_are_listed_with_their_arguments() -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    }
    tool = Tool("get_weather", "Forecast.\nLong text.", parameters)
    assert tools_text([tool]) == "  get_weather(city, [days])  Forecast."
    assert "--tools FILE" in tools_text([])
