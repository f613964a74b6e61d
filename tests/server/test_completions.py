from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.tools.validation import answer_fault
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import Busy, EngineError
from edgetool.llama.protocol import NONE, Done, Job
from edgetool.runtime import Completion, Sampling
from edgetool.server.completions import (
    CALLS,
    LENGTH,
    STOP,
    Reading,
    finish_reason,
    together,
    unless,
    write_choices,
)
from edgetool.server.responses import ChatReply
from edgetool.server.tool_call_deltas import CallPart
from tests.conftest import user, weather_tool
from tests.server.scripted import ScriptedWriter

HERMES = syntaxes.get("hermes")
OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ROME = OSLO.replace("Oslo", "Rome")
JOB = Job(user("weather"), (weather_tool(),))


def done(text: str, *, finished=True, shortened=False, stopped=False) -> Done:
    completion = Completion(text, (1,), finished, 0.0, shortened=shortened)
    return Done(completion, prompt_tokens=1, stopped=stopped)


def read(job: Job, pieces: list[str]) -> Reading:
    reading = Reading(job, HERMES)
    for piece in pieces:
        reading.feed(piece)
    reading.finish(done("".join(pieces)))
    return reading


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_the_same_however_the_text_is_cut(size):
    text = f"{OSLO}\n{ROME}"
    reading = read(JOB, [text[i : i + size] for i in range(0, len(text), size)])
    assert reading.calls == [
        ToolCall("get_weather", {"city": "Oslo"}),
        ToolCall("get_weather", {"city": "Rome"}),
    ]
    assert "".join(reading.words) == ""


def test_a_second_call_is_dropped_where_one_is_allowed():
    one = Job(JOB.messages, JOB.tools, parallel=False)
    assert [call.arguments for call in read(one, [OSLO, "\n", ROME]).calls] == [{"city": "Oslo"}]


@pytest.mark.parametrize(
    "job", [Job(user("x"), JOB.tools, choice=NONE), Job(user("x"))], ids=["none", "no tools"]
)
def test_where_no_call_may_be_made_what_looks_like_one_is_text(job):
    reading = read(job, [OSLO[:5], OSLO[5:]])
    assert reading.calls == []
    assert "".join(reading.words) == OSLO


def test_arguments_are_told_while_they_are_written():
    reading = Reading(JOB, HERMES)
    said = [part for piece in (OSLO[:60], OSLO[60:]) for part in reading.feed(piece)]
    assert [part.name for part in said] == ["get_weather", ""]
    assert "".join(part.text for part in said) == '{"city": "Oslo"}'
    assert reading.finish(done(OSLO)) == []
    assert len(reading.calls) == 1


@pytest.mark.parametrize("cut", [3, 15, 30, 60])
def test_half_a_call_is_no_prose(cut):
    reading = Reading(JOB, HERMES)
    said = reading.feed(f"Well. {OSLO[:cut]}")
    said += reading.finish(done(f"Well. {OSLO[:cut]}", finished=False))
    # of "<to" nobody can know that a call begins there
    assert "".join(reading.words) == ("Well. <to" if cut == 3 else "Well. ")
    assert "".join(part.text for part in said if isinstance(part, CallPart)) in OSLO
    assert reading.calls == []


@pytest.mark.parametrize("name", ["hermes", "llama3_json", "json", "mistral"])
def test_json_that_was_asked_for_is_no_call(name):
    asked = replace(JOB, schema={"type": "object"})
    reading = Reading(asked, syntaxes.get(name))
    answer = '{"x": ["<tool_call>", {"arguments": {}}]}'
    reading.feed(answer[:9])
    reading.feed(answer[9:])
    reading.finish(done(answer))
    assert ("".join(reading.words), reading.calls) == (answer, [])


def test_without_a_grammar_a_call_is_told_once_it_is_whole():
    reading = Reading(replace(JOB, constrained=False), HERMES)
    assert reading.feed(OSLO[:60]) == []
    assert reading.feed(OSLO[60:]) == [CallPart(0, "get_weather", '{"city": "Oslo"}')]


def test_what_the_engine_says_at_the_end_is_not_lost():
    reading = Reading(JOB, HERMES)
    reading.feed("Hel")
    assert reading.finish(done("Hello")) == ["lo"]


@pytest.mark.parametrize(
    ("ended", "called", "reason"),
    [
        (done("x"), False, STOP),
        (done("x"), True, CALLS),
        (done("x", finished=False), True, LENGTH),
        (done("x", shortened=True), True, CALLS),  # the call is whole
        (done("x", shortened=True), False, LENGTH),
        (done("x", finished=False), False, LENGTH),
        (done("x", finished=False, stopped=True), False, STOP),
    ],
)
def test_the_reason_of_the_end_is_openais(ended, called, reason):
    assert finish_reason(ended, called=called) == reason


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (done("[]", shortened=True), STOP),  # the value is whole
        (done("[]"), STOP),
        (done("[", finished=False), LENGTH),
    ],
)
def test_a_value_that_was_closed_in_time_is_whole(ended, reason):
    assert finish_reason(ended, called=False, valued=True) == reason


def test_the_first_failure_ends_the_other_choices():
    script = {0: [9.0, "late"], 1: [0.01, Busy("full")]}
    writer = ScriptedWriter(lambda job: script[job.sampling.seed])
    jobs = [Job(user("x"), sampling=Sampling(seed=seed)) for seed in (0, 1)]
    with pytest.raises(Busy, match="full"):
        asyncio.run(write_choices(writer, jobs))
    assert writer.cancelled == 1


def test_an_engine_that_says_no_end_has_failed():
    class Silent(ScriptedWriter):
        async def write(self, job):
            return
            yield

    with pytest.raises(EngineError, match="before the end of the completion"):
        asyncio.run(write_choices(Silent(), [JOB]))


def test_results_come_in_order():
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert asyncio.run(together([after(0.02), after(0.0)])) == [0.02, 0.0]


def test_work_ends_with_the_client():
    ended = []

    async def gone() -> Exception:
        return ConnectionError("gone")

    async def work() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            ended.append(True)

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(unless(gone(), work()))
    assert ended == [True]


DRAW = Tool("draw", "", {"type": "object", "properties": {"numbers": {
    "type": "array", "items": {"type": "integer"}, "contains": {"const": 7}}}})  # fmt: skip


@pytest.mark.parametrize(("numbers", "fits"), [([1, 2], False), ([1, 7], True)])
def test_a_call_that_only_a_check_behind_the_grammar_refuses_is_named(numbers, fits):
    said = HERMES.render([ToolCall("draw", {"numbers": numbers})])
    writer = ScriptedWriter(lambda job: [said])
    [choice] = asyncio.run(write_choices(writer, [Job(user("draw"), (DRAW,))]))
    shown = ChatReply("m").whole([choice])["choices"][0]
    assert shown["finish_reason"] == "tool_calls"
    if fits:
        assert "edgetool" not in shown
    else:
        [invalid] = shown["edgetool"]["invalid_calls"]
        assert invalid["index"] == 0 and invalid["reason"].startswith("numbers: ")
        assert ChatReply("m").closing(choice)["choices"][0]["edgetool"] == shown["edgetool"]


NUMBERS = DRAW.parameters["properties"]["numbers"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("[1, 2]", "None of"), ("[1, 7]", None), ("[1", "it is no JSON value")],
)
def test_content_that_only_a_check_behind_the_grammar_refuses_is_named(text, why):
    writer = ScriptedWriter(lambda job: [text])
    [choice] = asyncio.run(write_choices(writer, [Job(user("draw"), schema=NUMBERS)]))
    shown = ChatReply("m").whole([choice])["choices"][0]
    assert ("edgetool" in shown) == (why is not None)
    if why is not None:
        assert shown["edgetool"]["invalid_content"]["reason"].startswith(why)
        assert ChatReply("m").closing(choice)["choices"][0]["edgetool"] == shown["edgetool"]


def test_a_content_schema_that_refers_to_itself_is_checked_whole():
    tree = {"$defs": {"node": {"type": "object", "required": ["next"], "properties": {"next": {
        "anyOf": [{"$ref": "#/$defs/node"}, {"const": 7}]}}}}, "$ref": "#/$defs/node"}  # fmt: skip
    assert answer_fault('{"next": {"next": 7}}', tree) is None
    assert answer_fault('{"next": {"next": 8}}', tree) is not None


def test_calls_in_place_of_the_content_are_no_misfit():
    writer = ScriptedWriter(lambda job: [HERMES.render([ToolCall("draw", {"numbers": [7]})])])
    job = Job(user("draw"), (DRAW,), schema=NUMBERS)
    [choice] = asyncio.run(write_choices(writer, [job]))
    assert choice.calls and choice.misfit is None
