"""Jobs done by a real llama-server, where there is one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import httpx
import pytest

from edgetool.calls import syntaxes
from edgetool.errors import Busy, EngineError, ModelError, PromptTooLong, UsageError
from edgetool.llama import heartbeat
from edgetool.llama.client import WorkerClient
from edgetool.llama.llama_server import BINARY, BINARY_KEY, find_binary
from edgetool.llama.protocol import REQUIRED, Job
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Sampling
from tests.llama.test_client import ASKED, CALL, LONG, WEATHER, do
from tests.server.hosted import Hosted, tools_file

if shutil.which(os.environ.get(BINARY_KEY) or BINARY) is None:
    pytest.skip(f"no {BINARY} on PATH; name one with {BINARY_KEY}=FILE", allow_module_level=True)


@pytest.fixture(scope="module")
def writer(gguf: Path) -> Iterator[WorkerClient]:
    with WorkerClient(gguf, context=1024, sequences=4, waiting=4, binary=find_binary()) as opened:
        yield opened


def children(pid: int) -> list[int]:
    """The llama-servers among them: another one renders templates."""
    path = Path(f"/proc/{pid}/task")
    found = [int(c) for task in path.iterdir() for c in (task / "children").read_text().split()]
    return [c for c in found if b"edgetool" not in Path(f"/proc/{c}/cmdline").read_bytes()]


def gone(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def test_a_random_model_makes_valid_calls_or_is_cut(writer: WorkerClient):
    whole = 0
    for seed in range(4):
        sampling = Sampling(120, temperature=1.0, seed=seed)
        job = Job(ASKED, (WEATHER,), sampling, choice=REQUIRED)
        text, done = asyncio.run(do(writer, job))
        assert text == done.completion.text
        assert text.startswith("<tool_call>")
        if done.completion.finished:
            parsed = syntaxes.get("hermes").parse(text, [WEATHER])
            assert parsed.problem is None
            assert {type(call.arguments["city"]) for call in parsed.calls} == {str}
            whole += 1
        else:
            assert len(done.completion.token_ids) == 120
    assert whole  # else this test saw nothing


def test_the_prompt_is_the_one_our_own_engine_reads(writer: WorkerClient, session: LlamaSession):
    _, done = asyncio.run(do(writer, CALL))
    assert done.prompt_tokens == len(session.prompter.ids(ASKED, [WEATHER]))


def test_greedy_words_are_those_of_our_own_engine(writer: WorkerClient, session: LlamaSession):
    job = Job(ASKED, sampling=Sampling(12), constrained=False)
    _, done = asyncio.run(do(writer, job))
    ours = session.generate(session.prompter.ids(ASKED, []), job.sampling)
    assert done.completion.text == ours.text


def test_the_same_seed_draws_the_same(writer: WorkerClient):
    job = Job(ASKED, sampling=Sampling(12, temperature=1.0, seed=5))
    other = Job(ASKED, sampling=Sampling(12, temperature=1.0, seed=6))
    first, again, else_ = (asyncio.run(do(writer, one))[0] for one in (job, job, other))
    assert first == again != else_


def test_a_schema_is_held(writer: WorkerClient):
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}
    text, _ = asyncio.run(do(writer, Job(ASKED, sampling=Sampling(64), schema=schema)))
    assert json.loads(text) == {"n": 7}


def test_what_it_cannot_hold_or_read_is_the_askers_fault(writer: WorkerClient):
    with pytest.raises(UsageError, match=r"cannot hold a completion to this: .*'pattern'"):
        asyncio.run(do(writer, Job(ASKED, schema={"type": "string", "pattern": "a"})))
    with pytest.raises(PromptTooLong, match="the context holds 1024"):
        asyncio.run(do(writer, Job(({"role": "user", "content": "word " * 3000},))))


def test_closing_the_events_frees_the_place(writer: WorkerClient):
    async def leave_early():
        for _ in range(6):  # more than there are places
            async with aclosing(writer.write(LONG)) as events:
                async for _ in events:
                    break
        started = time.monotonic()
        await do(writer, Job(ASKED, sampling=Sampling(2)))
        return time.monotonic() - started

    async def whole():
        started = time.monotonic()
        await do(writer, LONG)
        return time.monotonic() - started

    # six long jobs in four places would have to end first
    assert asyncio.run(leave_early()) < asyncio.run(whole())


def test_its_end_costs_the_jobs_on_the_way_and_no_more(gguf: Path):
    async def crash(writer: WorkerClient):
        [server] = children(writer.pid)
        with pytest.raises(EngineError, match=r"(?s)llama-server ended with -9.*ask again"):
            async with aclosing(writer.write(LONG)) as events:
                async for _ in events:
                    with suppress(ProcessLookupError):  # it said more before it went
                        os.kill(server, signal.SIGKILL)
        while True:
            try:
                return await do(writer, CALL)
            except Busy:  # being started again
                await asyncio.sleep(0.1)

    with WorkerClient(gguf, context=1024, binary=find_binary()) as writer:
        text, done = asyncio.run(crash(writer))
    assert text == done.completion.text != ""


def test_one_that_is_stopped_is_ended_and_replaced(gguf: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heartbeat, "PATIENCE", 3)

    async def stop(writer: WorkerClient):
        [server] = children(writer.pid)
        with pytest.raises(EngineError, match=r"hung .*ask again"):
            async with aclosing(writer.write(LONG)) as events:
                async for _ in events:
                    os.kill(server, signal.SIGSTOP)
        while True:
            try:
                return server, await do(writer, CALL)
            except Busy:
                await asyncio.sleep(0.1)

    with WorkerClient(gguf, context=1024, binary=find_binary()) as writer:
        server, (text, done) = asyncio.run(stop(writer))
    assert text == done.completion.text != ""
    assert gone(server)


@pytest.mark.parametrize("how", ["close", "kill"])
def test_no_llama_server_is_left_behind(gguf: Path, how: str):
    writer = WorkerClient(gguf, context=256, binary=find_binary())
    [server] = children(writer.pid)
    if how == "kill":
        os.kill(writer.pid, signal.SIGKILL)
    writer.close()
    assert gone(server)


def test_a_file_it_cannot_load_is_named_before_anything_is_served(gguf: Path, tmp_path: Path):
    path = tmp_path / "short.gguf"
    path.write_bytes(gguf.read_bytes()[:-100_000])  # the header is whole
    with pytest.raises(ModelError, match=r"short\.gguf"):
        WorkerClient(path, binary=find_binary())


def test_the_front_is_the_same(gguf: Path, tmp_path: Path):
    tools = tools_file(tmp_path)
    with Hosted(gguf, "--engine", BINARY, "--tools", str(tools), "--offer-tools") as hosted:
        assert any(line.startswith("engine: ") for line in hosted.said)
        asked = {"messages": ASKED, "tool_choice": "required", "max_tokens": 400}
        url = f"{hosted.url}/v1/chat/completions"
        [choice] = httpx.post(url, json=asked, timeout=60).json()["choices"]
        assert choice["finish_reason"] in ("tool_calls", "length")
        held = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"pattern": "a"}}}
        refused = httpx.post(url, json={**asked, "response_format": held, "tool_choice": "auto"})
        assert refused.status_code == 400
        assert "llama-server cannot hold" in refused.json()["error"]["message"]
