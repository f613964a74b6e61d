"""An OpenAI-compatible endpoint, played by a server of the standard library."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from edgetool.errors import UsageError
from edgetool.eval.evaluate import evaluate
from edgetool.runtime import CONSTRAINED, Sampling, in_order

pytest.importorskip("openai")
from edgetool.eval.endpoint import EndpointRuntime

OSLO = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
BROKEN = {"name": "get_weather", "arguments": '{"city": '}


class Handler(BaseHTTPRequestHandler):
    """Calls for Oslo, a broken call beside it for Rome, prose otherwise; no tools: status 400."""

    asked: ClassVar[list[dict]] = []
    answer: ClassVar[object] = None  # in the place of a completion

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(request)
        if self.answer is not None:
            self._send(200, self.answer)
            return
        said = request["messages"][-1]["content"]
        if "fail" in said:
            self._send(400, {"error": {"message": "no"}})
            return
        functions = [OSLO] if "Oslo" in said else []
        functions += [BROKEN] if "Rome" in said else []
        calls = [{"id": "c", "type": "function", "function": f} for f in functions]
        message = {"role": "assistant", "content": "Because.", "tool_calls": calls or None}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        self._send(200, {**head, "choices": [choice], "usage": usage})

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def runtime() -> Iterator[EndpointRuntime]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield EndpointRuntime(f"http://127.0.0.1:{server.server_port}/v1", "m")
    server.shutdown()
    server.server_close()


def test_calls_are_judged_and_broken_ones_are_not_clean(runtime, examples):
    done = evaluate(runtime, examples, model="m", arm="free", sampling=Sampling(seed=3))
    one, two, none = done.results
    assert one.verdict.exact and none.verdict.exact
    assert two.problem == "invalid_json" and two.verdict.predicted == 1
    assert one.tokens == 7 and one.seconds > 0
    asked = next(r for r in Handler.asked if r["messages"][-1]["content"] == "tell me a joke")
    assert [t["function"]["name"] for t in asked["tools"]] == ["get_weather", "play_music"]
    assert (asked["max_tokens"], asked["temperature"]) == (256, 0.0)


def test_a_refused_request_costs_its_row(runtime, examples):
    from dataclasses import replace

    bad = replace(examples[0], messages=({"role": "user", "content": "fail"},))
    good, refused = in_order(runtime.generate([examples[0], bad], Sampling()))
    assert good.error is None
    assert refused.error is not None and refused.error.startswith("BadRequestError")


def test_how_an_endpoint_decodes_is_its_own_affair(runtime, examples):
    with pytest.raises(UsageError, match="free only"):
        list(runtime.generate(examples, Sampling(), CONSTRAINED))


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"tool_calls": [{"type": "function"}]}}]},
        {"choices": [{"message": {"tool_calls": {"a": 1}}}]},
    ],
)
def test_an_answer_that_is_no_completion_costs_its_row(runtime, examples, answer, monkeypatch):
    monkeypatch.setattr(Handler, "answer", answer)
    [refused] = in_order(runtime.generate(examples[:1], Sampling()))
    assert refused.error is not None and not refused.text
