"""A model that loops is brought to an end, and what it then wrote is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema_rs
import numpy as np
import openai
import pytest
from pydantic import BaseModel

from edgetool.calls.types import JsonObject
from edgetool.grammar.llguidance import for_llama
from edgetool.grammar.loops import COUNTED, MAX_DIGITS, PERIOD, REPEATED, Counts, Loops
from edgetool.llama.client import WorkerClient
from edgetool.llama.session import LlamaSession

PIECES = [b"a", b"1", b"23", b"x4", b"5 "]


def noted(*tokens: int) -> Loops:
    loops = Loops(PIECES)
    for token in tokens:
        loops.note(token)
    return loops


@pytest.mark.parametrize(
    ("tokens", "digits"),
    [((), 0), ((1, 2), 3), ((1, 0), 0), ((1, 3), 1), ((3, 2, 1), 4), ((2, 4), 0), ((4, 1), 1)],
)
def test_digits_in_a_row_are_counted_over_tokens(tokens: tuple[int, ...], digits: int) -> None:
    assert noted(*tokens).digits == digits


@pytest.mark.parametrize("period", [1, 2, PERIOD])
def test_a_part_that_comes_again_and_again_is_a_loop(period: int) -> None:
    part = [i % 2 if i else 2 for i in range(period)]
    again = part * (2 + REPEATED // period)
    assert noted(*again).looping
    assert not noted(*again[: REPEATED - 1]).looping


def test_what_counts_up_or_repeats_for_a_while_is_none() -> None:
    assert not noted(*[0] * (REPEATED - 1), 1, *[0] * (REPEATED - 1)).looping
    assert not noted(*(int(sign) for n in range(600) for sign in f"{n:b}")).looping


def counted(text: str, size: int = 3) -> int:
    counts = Counts()
    for i in range(0, len(text), size):
        counts.read(text[i : i + size].encode())
    return counts.longest


@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
@pytest.mark.parametrize(
    "item",
    [
        lambda n: f"{n}, ",
        lambda n: f"{-n}, ",
        lambda n: f"{n / 8}, ",
        lambda n: f"{n * n + 3}, ",
        lambda n: f'"file {n}", ',
        lambda n: f'{{"id": {n}, "x": 5, "y": {9 - n}}}, ',
    ],
)
def test_numbers_that_only_rise_or_fall_are_a_count(item: Callable[[int], str], size: int) -> None:
    numbers = item(1).count("y") * 2 + 1  # an item
    items = 40
    # the first two of each place say where it goes, and nothing comes before the very first
    assert counted("".join(map(item, range(1, items + 1))), size) >= numbers * (items - 3)


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(str(n * 7919 % 97) for n in range(500)),  # up and down
        ", ".join(f"{'abcdefghi'[n * 7919 % 97 % 9]}{n}" for n in range(500)),  # other words
    ],
)
def test_a_list_of_numbers_that_go_nowhere_is_no_count(text: str) -> None:
    assert counted(text) < 20


def written(session: LlamaSession, schema: JsonObject, wish: str, limit: int = 1000) -> str:
    """What a model writes for a schema that wants one text again and again."""
    constraint = for_llama(session).for_schema(schema)
    wishes, vocabulary, tokens = session.prompter.encode(wish), session.vocabulary, []
    for remaining in range(limit - 1, -1, -1):
        logits = np.zeros(vocabulary.size, np.float32)
        for rank, token in enumerate(wishes):
            wanted = 100 - (rank - len(tokens)) % len(wishes)
            logits[token] = max(logits[token], wanted)
        token = constraint.advance(int(constraint.mask(logits).argmax()), remaining)
        tokens.append(token)
        if token in vocabulary.stop_ids:
            break
    assert tokens[-1] in vocabulary.stop_ids
    assert len(tokens) < limit
    return vocabulary.text(tokens[:-1])


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_number_ends_after_so_many_digits(session: LlamaSession, kind: str) -> None:
    text = written(session, {"type": kind}, "7")
    assert text.replace(".", "").replace("e", "").lstrip("-").count("7") >= MAX_DIGITS
    assert max(map(len, text.replace("e", ".").split("."))) <= MAX_DIGITS + 3  # of the last token
    assert isinstance(json.loads(text), int if kind == "integer" else (int, float))


def test_digits_inside_a_string_are_not_counted(session: LlamaSession) -> None:
    text = written(session, {"type": "string", "maxLength": 200}, "7")
    assert len(json.loads(text)) > MAX_DIGITS


def test_a_number_that_the_schema_spells_out_keeps_its_digits(session: LlamaSession) -> None:
    long = int("7" * (2 * MAX_DIGITS))  # of which the engine keeps a double's digits
    assert len(written(session, {"enum": [long]}, "7")) == 2 * MAX_DIGITS


@pytest.mark.parametrize(
    ("schema", "wish"),
    [
        ({"type": "string"}, "a"),
        ({"type": "array", "items": {"type": "boolean"}}, "true, "),
        ({"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}, "ab"),
    ],
)
def test_a_string_or_a_list_that_loops_is_closed(
    session: LlamaSession, schema: JsonObject, wish: str
) -> None:
    value = json.loads(written(session, schema, wish))
    jsonschema_rs.validate(schema, value)
    assert len(json.dumps(value)) >= REPEATED


NUMBERS: JsonObject = {"type": "array", "items": {"type": "integer"}}


def counting(last: int) -> str:
    return f"[{', '.join(map(str, range(1, last + 1)))}]"


@pytest.mark.parametrize(
    ("schema", "end"),
    [
        (NUMBERS, COUNTED + 2),
        ({**NUMBERS, "minItems": COUNTED + 9}, COUNTED + 9),
    ],
)
def test_a_list_that_counts_up_is_closed(
    session: LlamaSession, schema: JsonObject, end: int
) -> None:
    numbers = json.loads(written(session, schema, counting(999), limit=4000))
    jsonschema_rs.validate(schema, numbers)
    assert len(numbers) == end
    assert numbers[: COUNTED + 2] == list(range(1, COUNTED + 3))


def test_a_list_of_objects_that_counts_up_is_closed(session: LlamaSession) -> None:
    item = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
            "additionalProperties": False}  # fmt: skip
    wish = "[" + ", ".join(f'{{"id": {n}}}' for n in range(400)) + "]"
    ids = json.loads(written(session, {"type": "array", "items": item}, wish, limit=4000))
    assert [one["id"] for one in ids] == list(range(COUNTED + 2))


def test_a_list_that_counts_to_a_hundred_is_kept(session: LlamaSession) -> None:
    assert written(session, NUMBERS, counting(100)) == counting(100)


class Answer(BaseModel):
    count: int
    ratio: float
    words: list[str]


@pytest.fixture(scope="module")
def client(gguf: Path, serving: Callable[..., str]) -> Iterator[openai.OpenAI]:
    with WorkerClient(gguf, context=1024) as writer:
        yield openai.OpenAI(base_url=f"{serving(writer)}/v1", api_key="x", max_retries=0)


@pytest.mark.parametrize("seed", range(6))
def test_openais_client_parses_a_value_that_had_to_be_closed(
    client: openai.OpenAI, seed: int
) -> None:
    done = client.chat.completions.parse(
        model="any",
        messages=[{"role": "user", "content": "hello"}],
        response_format=Answer,
        max_tokens=60,
        temperature=1.5,
        seed=seed,
    )
    choice = done.choices[0]
    assert choice.finish_reason == "stop"
    assert isinstance(choice.message.parsed, Answer)


def test_openais_client_parses_a_call_that_had_to_be_closed(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Answer, name="answer")
    shortened = 0
    for seed in range(6):
        done = client.chat.completions.parse(
            model="any",
            messages=[{"role": "user", "content": "hello"}],
            tools=[tool],
            tool_choice="required",
            max_tokens=80,
            temperature=1.5,
            seed=seed,
        )
        choice = done.choices[0]
        assert choice.finish_reason == "tool_calls"
        shortened += (choice.model_extra or {}).get("edgetool", {}).get("shortened", False)
        for call in choice.message.tool_calls or []:
            assert isinstance(call.function.parsed_arguments, Answer)
    assert shortened  # else this test saw nothing


@pytest.mark.slow
@pytest.mark.parametrize("limit", [24, 40, 400])
def test_nano_is_parsed_whatever_room_it_has(
    nano_gguf: Path, serving: Callable[..., str], limit: int
) -> None:
    tool = openai.pydantic_function_tool(Answer, name="answer")
    asked = {"model": "any", "messages": [{"role": "user", "content": "count to a thousand"}]}
    with WorkerClient(nano_gguf, context=1024) as writer:
        client = openai.OpenAI(base_url=f"{serving(writer)}/v1", api_key="x", max_retries=0)
        parse = client.chat.completions.parse
        value = parse(**asked, response_format=Answer, max_tokens=limit).choices[0]
        call = parse(**asked, tools=[tool], tool_choice="required", max_tokens=limit + 40).choices[
            0
        ]
    assert value.finish_reason == "stop"
    assert isinstance(value.message.parsed, Answer)
    assert call.finish_reason == "tool_calls"
