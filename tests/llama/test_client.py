"""Jobs done by a real llama.cpp in a child process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from edgetool.calls.syntaxes import hermes
from edgetool.calls.types import Tool
from edgetool.data.tool_files import load_tools
from edgetool.errors import Busy, EngineError, ModelError, PromptTooLong, UsageError
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.client import WorkerClient
from edgetool.llama.protocol import REQUIRED, Done, Job
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Sampling

WEATHER = Tool(
    "get_weather",
    "Weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
ASKED = ({"role": "user", "content": "What is the weather in Oslo?"},)
CALL = Job(ASKED, (WEATHER,), Sampling(64), choice=REQUIRED)
LONG = Job(ASKED, sampling=Sampling(900))


@pytest.fixture(scope="module")
def writer(gguf: Path) -> Iterator[WorkerClient]:
    with WorkerClient(gguf, context=1024, sequences=4, waiting=4) as opened:
        yield opened


async def do(writer: WorkerClient, job: Job):
    """The text of all deltas, and the end."""
    text = ""
    async for event in writer.write(job):
        if isinstance(event, Done):
            break
        text += event.text
    return text, event


def test_what_is_said_on_the_way_is_the_whole_completion(writer: WorkerClient):
    text, done = asyncio.run(do(writer, CALL))
    assert text == done.completion.text
    assert text.startswith('<tool_call>\n{"name": "get_weather", "arguments": {"city": "')


def test_forced_tokens_change_no_letter(writer: WorkerClient, session: LlamaSession):
    _, done = asyncio.run(do(writer, CALL))
    ids = session.prompter.ids(ASKED, [WEATHER])
    plain = session.generate(ids, CALL.sampling, for_llama(session)([WEATHER], required=True))
    assert done.completion.text == plain.text
    assert done.passes < plain.passes


def test_a_python_function_with_a_path_bytes_or_a_set_can_be_called(writer, shared: Path):
    tools = load_tools(shared / "cases" / "own_python_tools" / "rt.py")
    asked = ({"role": "user", "content": "read the file notes.txt"},)
    text, _ = asyncio.run(do(writer, Job(asked, tools, Sampling(96), choice=REQUIRED)))
    call, *_ = hermes.parse(text, tools).calls
    assert call.name == "read_text" and isinstance(call.arguments["path"], str)


def test_jobs_done_together_are_the_ones_done_alone(writer: WorkerClient):
    async def all_at_once():
        return await asyncio.gather(*(do(writer, CALL) for _ in range(8)))

    alone = asyncio.run(do(writer, CALL))[0]
    assert {text for text, _ in asyncio.run(all_at_once())} == {alone}


def test_a_prompt_asked_again_is_not_read_again(writer: WorkerClient):
    asyncio.run(do(writer, CALL))
    _, done = asyncio.run(do(writer, CALL))
    assert done.cached == (done.prompt_tokens - 1) // 64 * 64 > 0


def test_the_first_job_finds_the_tools_read_already(gguf: Path, tmp_path: Path):
    model = Path(shutil.copy(gguf, tmp_path))
    with WorkerClient(model, context=1024, prefill=[WEATHER]) as opened:
        _, done = asyncio.run(do(opened, CALL))
    assert done.cached == done.prompt_tokens // 64 * 64 > 0


@pytest.mark.parametrize(
    "tools", [(), (WEATHER,)], ids=["the client's tools", "the server's tools"]
)
def test_the_first_call_takes_about_as_long_as_later_ones(
    gguf: Path, tmp_path: Path, tools: tuple[Tool, ...]
):
    """Tables, grammar and first mask took 6 to 28 times as long as a later request."""

    async def seconds(writer: WorkerClient) -> float:
        started = time.perf_counter()
        await do(writer, CALL)
        return time.perf_counter() - started

    async def ratio(writer: WorkerClient) -> float:
        first, *later = [await seconds(writer) for _ in range(6)]
        return first / statistics.median(later)

    model, ratios = Path(shutil.copy(gguf, tmp_path)), []
    for _ in range(2):  # another process may have had the processor
        with WorkerClient(model, context=1024, prefill=tools) as writer:
            ratios.append(asyncio.run(ratio(writer)))
    assert min(ratios) < 4


def test_a_full_queue_says_so_and_goes_on(writer: WorkerClient):
    async def many():
        return await asyncio.gather(*(do(writer, CALL) for _ in range(9)), return_exceptions=True)

    found = asyncio.run(many())
    assert [type(one) for one in found].count(Busy) == 1  # room for 4 and 4 more
    assert sum(isinstance(one, tuple) for one in found) == 8


def test_closing_the_events_cancels_the_job(writer: WorkerClient):
    async def leave_early():
        async with aclosing(writer.write(LONG)) as events:
            async for _ in events:
                break
        assert writer.load == 0
        # all places and all the queue are free again
        return await asyncio.gather(*(do(writer, CALL) for _ in range(8)))

    assert len(asyncio.run(leave_early())) == 8


def test_a_stop_text_ends_the_completion_and_is_no_part_of_it(writer: WorkerClient):
    whole, _ = asyncio.run(do(writer, CALL))
    stopped = Job(ASKED, (WEATHER,), Sampling(64), choice=REQUIRED, stop=("arguments",))
    text, done = asyncio.run(do(writer, stopped))
    assert done.stopped
    assert text == done.completion.text == whole[: whole.index("arguments")]


def test_a_completion_held_to_a_schema_is_its_json(writer: WorkerClient):
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    text, _ = asyncio.run(do(writer, Job(ASKED, sampling=Sampling(64), schema=schema)))
    assert text.replace(" ", "").replace("\n", "") == '{"n":7}'


def test_a_prompt_that_is_too_long_is_the_askers_fault(writer: WorkerClient):
    long = ({"role": "user", "content": "word " * 3000},)
    with pytest.raises(PromptTooLong, match="the context holds 1024"):
        asyncio.run(do(writer, Job(long)))


def test_a_schema_no_grammar_can_hold_is_the_askers_fault(writer: WorkerClient):
    with pytest.raises(UsageError, match="cannot be held by a grammar"):
        asyncio.run(do(writer, Job(ASKED, schema={"type": "string", "pattern": "("})))


def test_a_file_that_is_no_model_is_said_before_anything_is_served(tmp_path: Path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 400)
    with pytest.raises(ModelError, match=r"bad\.gguf"):
        WorkerClient(path)


def test_a_crash_costs_the_jobs_on_the_way_and_no_more(gguf: Path):
    async def crash(writer: WorkerClient):
        async with aclosing(writer.write(LONG)) as events:
            with pytest.raises(EngineError, match=r"ended with -9.*ask again"):
                async for _ in events:
                    os.kill(writer.pid, signal.SIGKILL)
        while True:
            try:
                return await do(writer, CALL)
            except Busy:  # being started again
                await asyncio.sleep(0.1)

    with WorkerClient(gguf, context=1024) as writer:
        text, done = asyncio.run(crash(writer))
    assert text == done.completion.text != ""
