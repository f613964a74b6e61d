from __future__ import annotations

import pytest

from edgetool.terminal import printable


def test_a_strangers_text_does_not_steer_the_terminal() -> None:
    assert printable("\x1b[2Jname\u202e\n") == "\\x1b[2Jname\\x202e\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Grüße, 東京", "plain, Grüße, 東京"),
        ("\x1b[2J", "\\x1b[2J"),
        ("one\ntwo\r", "one\ntwo\\x0d"),
        ("\u202eright to left", "\\x202eright to left"),
    ],
)
def test_what_would_steer_a_terminal_is_shown_by_its_number(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_stays_and_what_stands_for_the_rest_can_be_chosen() -> None:
    assert printable("a\tb\nc\x07", keep="\t", instead=" ") == "a\tb c "
