"""A real engine's process that is killed, stopped or caught in a loop, and the server around it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from edgetool.errors import Busy, EngineError
from edgetool.llama import client as writers
from edgetool.llama import heartbeat, restarts
from edgetool.llama.client import WorkerClient
from edgetool.llama.protocol import Job
from edgetool.runtime import Sampling
from tests.llama.test_client import ASKED, CALL, LONG, do
from tests.server.hosted import Hosted

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
LOOPING = """
from edgetool.llama import generate, heartbeat, worker

heartbeat.PATIENCE = 3

choose = generate.choose

def looping(logits, sampling, generator):
    while sampling.seed == 666:
        pass
    return choose(logits, sampling, generator)

generate.choose = looping
worker.main()
"""


@pytest.fixture()
def hasty(monkeypatch):
    """Seconds become a few."""
    monkeypatch.setattr(heartbeat, "PATIENCE", 3)
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 2.0)


def until(true: Callable[[], object], seconds: float = 60.0) -> float:
    """Seconds until something is true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic() - started


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended; nobody here is its parent


def family(pid: int) -> list[int]:
    children = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


async def again(writer: WorkerClient):
    """A job, once the engine is there again."""
    while True:
        try:
            return await do(writer, CALL)
        except Busy:
            await asyncio.sleep(0.1)


async def failing(writer: WorkerClient, job: Job, at_first: Callable[[], object]) -> str:
    """What is said to a job under which the engine hangs or ends."""
    said = ""
    try:
        async for _ in writer.write(job):
            at_first()
    except EngineError as error:
        said = str(error)
    return said


def test_a_stopped_child_is_ended_and_replaced(gguf, hasty):
    told: list[str] = []
    with WorkerClient(gguf, context=1024, tell=told.append) as writer:
        first = writer.pid
        said = asyncio.run(failing(writer, LONG, lambda: os.kill(first, signal.SIGSTOP)))
        assert "hung (it said nothing for 3 s)" in said and said.endswith("so ask again")
        text, done = asyncio.run(again(writer))
        assert text == done.completion.text != ""
        assert writer.pid != first
    assert "hung" in told[0] and told[-1] == "the engine works again"
    assert is_gone(first)


@pytest.mark.slow
def test_a_child_in_an_endless_loop_is_ended_and_replaced(gguf, hasty, tmp_path, monkeypatch):
    (tmp_path / "looping.py").write_text(LOOPING)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    monkeypatch.setattr(writers, "WORKER", "looping")
    with WorkerClient(gguf, context=1024) as writer:
        asyncio.run(do(writer, CALL))
        first = writer.pid
        endless = Job(ASKED, sampling=Sampling(9, temperature=1.0, seed=666))
        said = asyncio.run(failing(writer, endless, lambda: None))
        assert "hung (it was 3 s at one step of writing)" in said
        asyncio.run(again(writer))
        assert writer.pid != first


def test_a_child_with_nothing_to_do_is_left_alone(gguf, hasty):
    with WorkerClient(gguf, context=1024) as writer:
        first = writer.pid
        asyncio.run(do(writer, CALL))
        time.sleep(4.5)
        assert writer.pid == first
        assert writer.trouble is None


def test_health_says_so_before_a_stopped_child_is_given_up(gguf, serving, monkeypatch):
    monkeypatch.setattr(writers, "QUIET", 1)
    with WorkerClient(gguf, context=1024) as writer:
        url = serving(writer)
        os.kill(writer.pid, signal.SIGSTOP)
        until(lambda: httpx.get(f"{url}/health").status_code == 503)
        assert "has said nothing for" in httpx.get(f"{url}/health").json()["reason"]
        os.kill(writer.pid, signal.SIGCONT)
        until(lambda: httpx.get(f"{url}/health").status_code == 200)


def test_three_deaths_are_waited_for_and_got_over(gguf, serving, hasty):
    with WorkerClient(gguf, context=1024) as writer:
        url = serving(writer)
        for _ in range(3):
            os.kill(writer.pid, signal.SIGKILL)
            until(lambda: writer.trouble is not None)
            if writer.trouble and "now" in writer.trouble:
                until(lambda: writer.trouble is None)
        refused = httpx.post(f"{url}/v1/chat/completions", json=HELLO)
        health = httpx.get(f"{url}/health")
        assert refused.status_code == health.status_code == 503
        assert int(refused.headers["retry-after"]) in (1, 2)
        assert "it is started again in" in health.json()["reason"]
        until(lambda: httpx.get(f"{url}/health").status_code == 200)
        assert httpx.post(f"{url}/v1/chat/completions", json=HELLO, timeout=60).is_success


def test_an_engine_that_cannot_be_started_again_ends_the_server_with_1(gguf, tmp_path):
    model = Path(shutil.copy(gguf, tmp_path / "model.gguf"))
    code = (
        "import sys\n"
        "from edgetool.llama import restarts\n"
        "restarts.FIRST_PAUSE = 0.1\n"
        f"sys.argv = ['edgetool', 'serve', {str(model)!r}, '--port', '0']\n"
        "from edgetool.cli import main\n"
        "main()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in server.stdout:
        if "chat.completions.create" in line:
            break
    [child] = [pid for pid in family(server.pid)[1:] if b"llama.worker" in cmdline(pid)]
    model.unlink()
    os.kill(child, signal.SIGKILL)
    _, said = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "the engine could not be started again: " in said.splitlines()[-1]
    assert "no such file" in said.splitlines()[-1]
    assert "Traceback" not in said


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped"])
def test_a_server_that_is_killed_leaves_nobody_behind(gguf, stopped):
    with Hosted(gguf) as hosted:
        httpx.post(f"{hosted.url}/v1/chat/completions", json=HELLO, timeout=60)
        server, *others = family(hosted.process.pid)
        assert len(others) >= 2  # the engine's, and its templates'
        if stopped:
            os.kill(others[0], signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        until(lambda: all(is_gone(pid) for pid in others), seconds=10)


@pytest.mark.skipif(shutil.which("sleep") is None, reason="no sleep here")
def test_a_llama_server_ends_with_whoever_started_it():
    code = (
        "import asyncio, os\n"
        "from edgetool.llama.llama_server_worker import Server\n"
        "async def main():\n"
        "    server = await Server.start(['sleep', '100'], dict(os.environ))\n"
        "    print('ready', server.seconds() is not None, flush=True)\n"
        "    await asyncio.sleep(100)\n"
        "asyncio.run(main())\n"
    )
    relay = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert relay.stdout.readline() == "ready True\n"
    _, sleeping = family(relay.pid)
    relay.kill()
    until(lambda: is_gone(sleeping), seconds=10)
    relay.communicate()
