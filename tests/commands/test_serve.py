"""`edgetool serve` as it is typed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from edgetool.commands.serve import address, binary_of, memory_line, require_key, serve
from edgetool.errors import ModelError, UsageError
from tests.server.hosted import Hosted, tools_file


def typed(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetool", "serve", *map(str, words), "--port", "0"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **variables}
    )


@pytest.fixture(scope="module")
def hosted(nano_gguf, tmp_path_factory):
    tools = tools_file(tmp_path_factory.mktemp("tools"))
    with Hosted(nano_gguf, "--tools", str(tools), "--offer-tools") as started:
        yield started


def test_memory_is_told_before_and_ways_to_ask_after_loading(hosted):
    first, *_ = hosted.said
    assert first.startswith("model.F16.gguf: needs about ")
    assert first.endswith(" are free")
    said = "\n".join(hosted.said)
    assert f"serving model.F16 at {hosted.url} (tools: get_weather, play_music)" in said
    assert "call syntax: hermes" in said


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_curl_line_works_as_it_is_shown(hosted):
    shown = "\n".join(hosted.said).partition("curl ")[2].partition("\n\n")[0]
    done = subprocess.run(["sh", "-c", f"curl -s {shown}"], capture_output=True, timeout=60)
    assert b'"chat.completion"' in done.stdout


def test_the_python_lines_work_as_they_are_shown(hosted):
    shown = "\n".join(hosted.said).partition("import openai")[2]
    lines = [line.strip() for line in shown.splitlines()]
    code = "\n".join(["import openai", *lines[:-1], f"print({lines[-1]})"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert b"ChatCompletion(" in done.stdout


def test_the_page_is_there(hosted):
    assert httpx.get(hosted.url).headers["content-type"].startswith("text/html")


def test_ctrl_c_ends_it_soon_though_a_client_waits(nano_gguf):
    with Hosted(nano_gguf) as hosted:
        body = b'{"messages": [{"role": "user", "content": "hi"}], "stream": true, "seed": 1,'
        body += b' "temperature": 2, "max_tokens": 4000}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", httpx.URL(hosted.url).port)) as client:
            client.sendall(head + body)
            client.recv(1)
            started = time.perf_counter()
            os.kill(hosted.process.pid, signal.SIGINT)
            assert hosted.process.wait(timeout=30) == 0
            # a second where nothing else runs; this leaves room for a busy machine
            assert time.perf_counter() - started < 5
        assert hosted.process.stderr.read() == ""


def test_a_busy_port_names_a_free_one(nano_gguf):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"{port}: .* is free: --port \d+"):
            serve(str(nano_gguf), port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_open_host_needs_a_key(host):
    with pytest.raises(UsageError, match="--api-key"):
        require_key(host, None)
    require_key(host, "s3cret")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_none(host):
    require_key(host, None)


@pytest.mark.parametrize("key", ["", " ", "\t", "two words", "line\n", "\x00"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_key_that_locks_nothing_or_fits_no_header_is_refused(host, key):
    with pytest.raises(UsageError, match="--api-key"):
        require_key(host, key)


def test_an_empty_key_is_a_mistake_in_what_was_typed(nano_gguf):
    done = typed(nano_gguf, "--api-key", "")
    assert done.returncode == 2
    assert done.stderr.startswith("edgetool: --api-key '': no key that a header can hold")


def test_an_empty_key_in_the_environment_is_refused_as_well(nano_gguf):
    done = typed(nano_gguf, EDGETOOL_API_KEY="")
    assert done.returncode == 2
    assert "EDGETOOL_API_KEY is set and empty" in done.stderr


def test_tools_to_offer_have_to_be_named(nano_gguf):
    with pytest.raises(UsageError, match="name them with --tools FILE"):
        serve(str(nano_gguf), offer_tools=True)


def test_the_servers_tools_are_offered_to_nobody_unasked(nano_gguf, tmp_path):
    with Hosted(nano_gguf, "--tools", str(tools_file(tmp_path))) as hosted:
        assert any("--offer-tools" in line for line in hosted.said)
        asked = {"messages": [{"role": "user", "content": "weather in Oslo please"}]}
        url = f"{hosted.url}/v1/chat/completions"
        shown = httpx.get(f"{hosted.url}/page/tools.json").json()
        bare = httpx.post(url, json=asked, timeout=60).json()
        brought = httpx.post(url, json={**asked, "tools": shown}, timeout=60).json()
        forced = httpx.post(url, json={**asked, "tool_choice": "required"}, timeout=60)
    assert [tool["function"]["name"] for tool in shown] == ["get_weather", "play_music"]
    assert bare["usage"]["prompt_tokens"] < brought["usage"]["prompt_tokens"]
    assert "tool_calls" not in bare["choices"][0]["message"]
    assert forced.status_code == 400


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8"),
        ("0.0.0.0", "http://127.0.0.1:8"),
        ("::", "http://[::1]:8"),
        ("::1", "http://[::1]:8"),
    ],
)
def test_the_address_is_one_that_can_be_opened(host, url):
    assert address(host, 8) == url


def test_an_engine_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"--engine vllm: .*choose of: llama\.cpp, llama-server"):
        binary_of("vllm")
    assert binary_of(None) is binary_of("llama.cpp") is None


def test_a_missing_file_is_named_before_anything_is_loaded():
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file"):
        memory_line(Path("absent.gguf"), 4096)


def test_too_little_memory_is_said_with_what_helps(nano_gguf, monkeypatch):
    import psutil

    assert "smaller --context" not in memory_line(nano_gguf, 4096)
    little = psutil.virtual_memory()._replace(available=10**8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    assert "smaller --context" in memory_line(nano_gguf, 4096)
