"""Guesses from the user's words, and what a pass of the model makes of any guess."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetool.calls.types import Example
from edgetool.export.export import export_gguf
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.generate import BatchGenerator
from edgetool.llama.prompt_lookup import MOST, PromptLookup, words_of
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Completion, Sampling

LENGTH = Sampling(max_completion_length=40)


def codes(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def after(source: str, written: str, most: int = MOST) -> str:
    lookup = PromptLookup(source, codes)
    for letter in written:
        lookup.note(letter.encode())
    return "".join(map(chr, lookup.guess(most)))


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ('{"city": "Trond', "heim"),  # cut at MOST = 4
        ("get_weather(city='Trond", "heim"),
        ('{"city": "Trondheim', " ple"),
        ('{"city": "', ""),  # nothing to go by
        ('{"city": "T', ""),  # one letter is in every text
        ('{"city": "Oslo', ""),  # the user said no such thing
        ('"Trond", "days": ', ""),  # another value
    ],
)
def test_a_value_that_begins_as_the_user_said_it_is_guessed_to_go_on_so(written: str, guess: str):
    assert after("Weather in Trondheim please", written) == guess


def test_a_guess_is_no_longer_than_asked():
    assert after("Weather in Trondheim", '"Trond', most=2) == "he"
    assert after("Weather in Trondheim", '"Trond', most=0) == ""


def test_nothing_is_guessed_behind_the_last_word():
    assert after("Weather in Oslo", '"Oslo') == ""


def test_guesses_that_never_come_true_are_given_up():
    lookup = PromptLookup("Weather in Trondheim", codes)
    for letter in '"Trond':
        lookup.note(letter.encode())
    assert [len(lookup.guess(MOST)) for _ in range(4)] == [4, 4, 0, 0]


def test_a_guess_that_came_true_renews_the_patience():
    lookup = PromptLookup("Weather in Trondheim", codes)
    for letter in '"Trond':
        lookup.note(letter.encode())
    assert len(lookup.guess(MOST)) == 4
    lookup.kept += 1
    assert [len(lookup.guess(MOST)) for _ in range(3)] == [4, 4, 0]


def test_half_a_character_is_no_part_of_a_guess():
    lookup = PromptLookup("x" * 2 + "a" * 46 + "é" * 9, codes)  # 48 bytes behind xa end inside an é
    for letter in "xxa":
        lookup.note(letter.encode())
    assert lookup.guess(MOST) == [97] * 4


def test_the_last_words_are_looked_through_first():
    messages = [
        {"role": "user", "content": "Oslo first"},
        {"role": "assistant", "content": "Oslo never"},
        {"role": "tool", "content": "Oslo second"},
        {"role": "user", "content": [{"type": "text"}]},
    ]
    assert words_of(messages) == "Oslo second\nOslo first"


@pytest.fixture(scope="module")
def q8(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaSession]:
    """In Q8_0 llama.cpp rounds the same however many tokens it is given; in F16 it does not."""
    pytest.importorskip("llama_cpp")
    path = export_gguf(tiny_model, None, tmp_path_factory.mktemp("q8"), ["Q8_0"])[0].path
    with LlamaSession(path, context=1024, sequences=2) as session:
        yield session


class Oracle(PromptLookup):
    """Knows what will be written, and is wrong about every nth token of it."""

    def __init__(self, truth: tuple[int, ...], every: int) -> None:
        super().__init__("", codes)
        self._truth, self._every, self._place = truth, every, 0

    def note(self, piece: bytes) -> None:
        self._place += 1

    def guess(self, most: int) -> list[int]:
        places = range(self._place, min(self._place + most, len(self._truth)))
        return [(self._truth[p] + (p % self._every == 0)) % 300 for p in places]


def write(
    session: LlamaSession, row: Example, held: bool, *lookups: PromptLookup
) -> list[Completion]:
    """The row once for each lookup, side by side; once without where there are none."""
    batch: BatchGenerator[int] = BatchGenerator(session)
    ids = session.prompter.ids(row.messages, row.tools)
    for number, lookup in enumerate(lookups or [None]):
        constraint = for_llama(session)(row.tools, required=True) if held else None
        batch.add(number, ids, LENGTH, constraint, skip_forced=held, lookup=lookup)
    made: dict[int, Completion] = {}
    while batch.keys:
        made.update(batch.round())
    return [made[number] for number in sorted(made)]


@pytest.mark.parametrize("held", [False, True], ids=["free", "constrained"])
def test_no_guess_changes_what_is_written(q8: LlamaSession, examples: list[Example], held: bool):
    [plain] = write(q8, examples[0], held)
    right, wrong = Oracle(plain.token_ids, 10**6), Oracle(plain.token_ids, 3)
    [fast, slow] = write(q8, examples[0], held, right, wrong)
    assert fast.token_ids == slow.token_ids == plain.token_ids
    assert fast.passes is not None and slow.passes is not None and plain.passes is not None
    assert fast.passes < slow.passes < plain.passes
    # only a token that was guessed and chosen can save a pass
    assert plain.passes - fast.passes <= right.kept
    assert plain.passes - slow.passes <= wrong.kept


def test_what_is_taken_back_was_never_there(q8: LlamaSession, examples: list[Example]):
    engine = q8.engine
    ids = q8.prompter.ids(examples[0].messages, examples[0].tools)
    engine.read(ids)
    expected = engine.feed({0: [40]})[0].copy()
    engine.read(ids)
    engine.feed_guessed({0: [41]}, {0: [42, 43]})
    engine.retract(0, 3)
    assert np.array_equal(engine.feed({0: [40]})[0], expected)


def test_guesses_have_logits_of_their_own(q8: LlamaSession, examples: list[Example]):
    engine = q8.engine
    ids = q8.prompter.ids(examples[0].messages, examples[0].tools)
    engine.read(ids)
    apart = [engine.feed({0: [token]})[0].copy() for token in (41, 42, 43)]
    engine.read(ids)
    [together] = engine.feed_guessed({0: [41]}, {0: [42, 43]})
    assert all(np.array_equal(a, b) for a, b in zip(apart, together, strict=True))
