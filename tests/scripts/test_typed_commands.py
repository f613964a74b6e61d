"""Every command that the pages tell people to type is one that edgetool can read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from edgetool.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^    (edgetool .*)$", re.MULTILINE)
_INLINE = re.compile(r"`(edgetool [^`]*)`")


def commands_of(page):
    """The commands of a page, without remarks, one for each part of a && b."""
    text = page.read_text(encoding="utf-8")
    for found in [*_BLOCK.findall(text), *_INLINE.findall(text)]:
        for part in re.sub(r"\s+#\s.*", "", found).split("&&"):
            words = shlex.split(part)[1:]
            if words and not words[0].isupper():
                yield words


TYPED = [(page.name, words) for page in PAGES for words in commands_of(page)]


def parse(command, words):
    """Read words as the command line does, down to the last command, without running it.

    Words alone, as in "what `edgetool data split` wrote", name a command and need no arguments.
    """
    group = hasattr(command, "resolve_command")
    named = not group and all(re.fullmatch("[a-z]+", word) for word in words)
    name = command.name or "edgetool"
    with command.make_context(name, list(words), resilient_parsing=named) as context:
        rest = [*context._protected_args, *context.args]
        if rest and group:
            _, inner, left = command.resolve_command(context, rest)
            parse(inner, left)


@pytest.mark.parametrize(("page", "words"), TYPED, ids=lambda one: str(one))
def test_a_command_of_the_pages_can_be_typed(page, words):
    parse(typer.main.get_command(app), words)


@pytest.mark.parametrize(
    "words", [["data", "split", "rows.jsonl"], ["export", "runs/my", "--no-such"], ["traim"]]
)
def test_a_command_that_cannot_be_typed_is_seen(words):
    with pytest.raises(Exception, match=r"Missing parameter: out|No such"):  # of typer's own click
        parse(typer.main.get_command(app), words)


def test_the_pages_have_commands():
    assert len(TYPED) > 40
