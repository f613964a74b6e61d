from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from edgetool.errors import UsageError
from edgetool.server.listen import bind, is_loopback
from tests.server.scripted import ScriptedWriter

PATIENCE = 0.5
MARGIN = 10.0  # a busy machine may be late; a server without patience would never cut
HELLO = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


@pytest.fixture(scope="module")
def hasty(serving):
    return serving(ScriptedWriter(), patience=PATIENCE)


def connect(address: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", httpx.URL(address).port))
    connection.settimeout(MARGIN)
    return connection


def cut_after(connection: socket.socket) -> float:
    """Seconds until the server cuts the connection."""
    started = time.perf_counter()
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/chat/comp",
        HEAD % len(HELLO),
        HEAD % len(HELLO) + HELLO[:-1],
        b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea",
        b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "half a line", "no body", "most of a body", "half a second one", "nowhere"],
)
def test_a_client_that_dawdles_with_its_request_is_cut(hasty, sent):
    with connect(hasty) as connection:
        connection.sendall(sent)
        assert PATIENCE * 0.8 < cut_after(connection) < MARGIN


def test_a_client_that_drips_its_request_is_cut(hasty):
    with connect(hasty) as connection, pytest.raises(OSError):
        for byte in range(int(MARGIN / 0.1)):
            connection.sendall(HEAD[byte : byte + 1])
            time.sleep(0.1)


def test_a_client_that_does_not_read_on_is_cut(serving):
    wordy = ScriptedWriter(lambda job: ["x" * 2**20] * 64)  # far more than sockets hold
    hasty = serving(wordy, patience=PATIENCE)
    body = HELLO.replace(b"}]}", b'}], "stream": true}')
    with connect(hasty) as connection:
        connection.sendall(HEAD % len(body) + body)
        ends = time.perf_counter() + MARGIN
        while not wordy.cancelled and time.perf_counter() < ends:
            time.sleep(0.05)
    assert wordy.cancelled == 1


def test_a_client_that_waits_for_a_slow_answer_is_not_cut(serving):
    address = serving(ScriptedWriter(lambda job: ["a", PATIENCE * 3, "b"]), patience=PATIENCE)
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/v1/chat/completions", content=HELLO, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "ab"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_names_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", ""])
def test_other_names_are_not_loopback(host):
    assert not is_loopback(host)


def test_a_busy_port_names_the_next_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127.0.0.1:{port}: .*; (\d+) is free") as refused:
            bind("127.0.0.1", port)
    free = int(str(refused.value).rpartition(" ")[2])
    assert free > port
    bind("127.0.0.1", free).close()


def test_a_host_of_another_machine_is_refused():
    with pytest.raises(UsageError, match="choose another with --port or --host"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(UsageError, match="cannot listen"):
        bind("127.0.0.1", port)
