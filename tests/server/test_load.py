"""Many clients, some of whom leave; crashes under way; and memory over many requests."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from edgetool.llama.client import WorkerClient
from tests.server.hosted import Hosted, tools_file

CLIENTS, EACH, LEAVE = 32, 10, 0.2
MANY = 5_000


@pytest.fixture(scope="module")
def writer(gguf):
    # none is to be turned away here: every request may have to wait, and behind those of who left
    with WorkerClient(gguf, context=512, waiting=2 * CLIENTS) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(serving, writer, examples):
    return f"{serving(writer, tools=examples[0].tools, offer_tools=True)}/v1/chat/completions"


def body(number: int, **fields) -> dict:
    text = f"weather in town number {number} please"
    asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 40}
    return {**asked, "tool_choice": "required", **fields}


def answer(client: httpx.Client, url: str, number: int) -> list:
    done = client.post(url, json=body(number))
    assert done.status_code == 200, done.text
    [choice] = done.json()["choices"]
    calls = choice["message"].get("tool_calls") or []
    return [choice["finish_reason"], choice["message"]["content"], *[c["function"] for c in calls]]


def leave(client: httpx.Client, url: str, number: int) -> None:
    """Ask, and go away at the first word."""
    with client.stream("POST", url, json=body(number, stream=True, max_tokens=400)) as stream:
        assert stream.status_code == 200
        next(stream.iter_raw())


@pytest.mark.slow
def test_32_clients_of_whom_some_leave_get_the_serial_answers(url, writer):
    dice = random.Random(0)
    leaving = {n for n in range(CLIENTS * EACH) if dice.random() < LEAVE}
    assert 40 < len(leaving) < 90

    def run(client_number: int) -> dict[int, list]:
        kept = {}
        with httpx.Client(timeout=300) as client:
            for number in range(client_number * EACH, (client_number + 1) * EACH):
                if number in leaving:
                    leave(client, url, number)
                else:
                    kept[number] = answer(client, url, number)
        return kept

    with ThreadPoolExecutor(CLIENTS) as pool:
        together = {n: said for kept in pool.map(run, range(CLIENTS)) for n, said in kept.items()}
    assert set(together) == set(range(CLIENTS * EACH)) - leaving
    with httpx.Client(timeout=60) as client:
        assert together == {number: answer(client, url, number) for number in together}
    ends = time.perf_counter() + 10
    while writer.load and time.perf_counter() < ends:
        time.sleep(0.05)
    assert writer.load == 0


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_over_many_requests(gguf, tmp_path):
    many, sizes = int(os.environ.get("EDGETOOL_MANY_REQUESTS", MANY)), []
    options = ("--tools", str(tools_file(tmp_path)), "--offer-tools", "--context", "512")
    with (
        Hosted(gguf, *options) as hosted,
        httpx.Client(timeout=60) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(number: int) -> None:
            fields = {"max_tokens": 3, "stream": number % 2 == 0}
            done = client.post(f"{hosted.url}/v1/chat/completions", json=body(number, **fields))
            assert done.status_code == 200

        for start in range(0, many, many // 10):
            list(pool.map(ask, range(start, start + many // 10)))
            sizes.append([resident_kb(pid) for pid in hosted.processes])
    print(sizes)
    for before, after in zip(sizes[0], sizes[-1], strict=True):
        assert after - before < 0.05 * before


@pytest.mark.slow
def test_a_crash_costs_the_requests_in_flight_a_503_and_no_more(serving, gguf, examples):
    with WorkerClient(gguf, context=1024) as writer:
        url = f"{serving(writer, tools=examples[0].tools, offer_tools=True)}/v1/chat/completions"
        with httpx.Client(timeout=60) as client, ThreadPoolExecutor(4) as pool:
            before = answer(client, url, 1)
            long = {"tools": [], "tool_choice": "none", "max_tokens": 900}
            flying = [pool.submit(client.post, url, json=body(n, **long)) for n in range(4)]
            while writer.load < 4:
                time.sleep(0.01)
            os.kill(writer.pid, signal.SIGKILL)
            for one in flying:
                failed = one.result()
                assert failed.status_code == 503
                assert failed.headers["retry-after"] == "1"
                assert failed.json()["error"]["type"] == "server_error"
            assert again(lambda: client.post(url, json=body(1))).status_code == 200
            assert answer(client, url, 1) == before


def again(ask):
    """What an obliging client does: ask again while the server says that it will be back."""
    ends = time.perf_counter() + 60
    while (done := ask()).status_code == 503 and time.perf_counter() < ends:
        time.sleep(float(done.headers["retry-after"]) / 10)
    return done
