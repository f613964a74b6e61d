"""Rollouts by servers: real llama.cpp behind a few lines that speak vLLM's fields."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgetool.errors import EngineError
from edgetool.runtime import Sampling
from edgetool.train.engines import Rollouts, open_engine
from edgetool.train.engines.llama import LlamaEngine
from edgetool.train.engines.openai import ADAPTER, OpenAIEngine
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.settings import RolloutSettings

pytest.importorskip("openai")

PROMPTS = [[5, 9, 33, 70, 8], [11, 12], [77]]
SAMPLING = Sampling(max_completion_length=6, temperature=1.0)
SEEDS = [[1 << 40, 2 << 40], [3 << 40, 4 << 40], [5 << 40, 6 << 40]]


class Server:
    """vLLM's paths and fields over an engine of ours. `shape` changes what a choice looks like."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.engine, self.turn = engine, threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.adapters: list[str] = []
        self.shape: Callable[[dict[str, Any]], dict[str, Any]] = lambda choice: choice
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/load_lora_adapter":
            assert (Path(body["lora_path"]) / "adapter_model.safetensors").is_file()
            self.adapters.append(body["lora_name"])
            return "Success"
        if path == "/v1/unload_lora_adapter":
            self.adapters.remove(body["lora_name"])
            return "Success"
        assert path == "/v1/completions"
        with self.turn:
            self.asked.append(body)
            sampling = Sampling(body["max_tokens"], body["temperature"], body["top_p"])
            [[one]] = self.engine.write(
                [body["prompt"]], sampling, [[body["seed"]]], lambda _: None
            )
        choice = {
            "index": 0,
            "text": one.text,
            "finish_reason": "stop" if one.finished else "length",
            "token_ids": list(one.token_ids),
            "logprobs": {
                "tokens": [f"token_id:{token}" for token in one.token_ids],
                "token_logprobs": list(one.logprobs),
            },
        }
        made = {"id": "x", "object": "text_completion", "created": 0, "model": body["model"]}
        return {**made, "choices": [self.shape(choice)]}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply({"object": "list", "data": [{"id": "base", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.reply(server.answer(self.path, body))

            def reply(self, value: Any) -> None:
                text = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server(policy: Policy, tmp_path: Path) -> Iterator[Server]:
    settings = RolloutSettings(engine="llama", gguf_type="F32")
    engine = open_engine(policy, settings, Rollouts(tmp_path / "served", 128, 1))
    assert isinstance(engine, LlamaEngine)
    engine.load_adapter()
    served = Server(engine)
    yield served
    served.http.shutdown()
    served.http.server_close()
    engine.close()


@pytest.fixture
def engine(policy: Policy, server: Server, tmp_path: Path) -> Iterator[OpenAIEngine]:
    settings = RolloutSettings(engine="openai", url=(server.url,))
    opened = open_engine(policy, settings, Rollouts(tmp_path, 128, 6))
    assert isinstance(opened, OpenAIEngine)
    yield opened
    opened.close()


def written(engine: OpenAIEngine) -> Any:
    return engine.write(PROMPTS, SAMPLING, SEEDS, lambda _: None)


def flat(groups: Any) -> list[RolloutCompletion]:
    return [completion for group in groups for completion in group]


def test_what_a_server_wrote_is_what_its_engine_wrote(engine: OpenAIEngine, server: Server) -> None:
    engine.load_adapter()
    seeds = [[seed >> 32 for seed in group] for group in SEEDS]
    expected = server.engine.write(PROMPTS, SAMPLING, seeds, lambda _: None)
    for one, other in zip(flat(written(engine)), flat(expected), strict=True):
        assert one.token_ids == other.token_ids
        assert (one.text, one.finished) == (other.text, other.finished)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_stop_token_is_part_of_the_ids(
    engine: OpenAIEngine, server: Server, policy: Policy
) -> None:
    policy.stop_ids = tuple(range(0, 500, 2))
    engine.load_adapter()
    ended = [one for one in flat(written(engine)) if one.finished]
    assert ended
    assert all(one.token_ids[-1] % 2 == 0 for one in ended)
    assert server.asked[0]["stop_token_ids"] == list(policy.stop_ids)


def test_each_step_has_its_adapter_under_a_name_of_its_own(
    engine: OpenAIEngine, server: Server, tmp_path: Path
) -> None:
    engine.load_adapter()
    engine.load_adapter()
    written(engine)
    assert server.adapters == ["edgetool-rollout-2"]
    assert {body["model"] for body in server.asked} == {"edgetool-rollout-2"}
    assert (tmp_path / ADAPTER / "adapter_config.json").is_file()


def test_ids_are_read_from_the_names_of_tokens_where_there_is_no_list(
    engine: OpenAIEngine, server: Server
) -> None:
    engine.load_adapter()
    expected = written(engine)
    server.shape = lambda choice: {**choice, "token_ids": None}
    assert [[w.token_ids for w in group] for group in written(engine)] == [
        [w.token_ids for w in group] for group in expected
    ]


@pytest.mark.parametrize("missing", ["logprobs", "both"])
def test_a_server_that_gives_no_log_probabilities_is_refused(
    engine: OpenAIEngine, server: Server, missing: str
) -> None:
    engine.load_adapter()
    gone = {"logprobs": None} | ({"token_ids": None} if missing == "both" else {})
    server.shape = lambda choice: {**choice, **gone}
    with pytest.raises(EngineError, match=r"token ids and 0 log-probabilities; it has to know"):
        written(engine)


def test_several_servers_are_asked_in_turn(policy: Policy, server: Server, tmp_path: Path) -> None:
    other = Server(server.engine)
    other.turn = server.turn
    settings = RolloutSettings(engine="openai", url=(server.url, other.url))
    engine = open_engine(policy, settings, Rollouts(tmp_path, 128, 6))
    try:
        engine.load_adapter()
        engine.write(PROMPTS, SAMPLING, SEEDS, lambda _: None)
    finally:
        engine.close()
        other.http.shutdown()
        other.http.server_close()
    assert sorted(body["prompt"] for body in server.asked) == [*[PROMPTS[0]] * 2, *[PROMPTS[2]] * 2]
    assert [body["prompt"] for body in other.asked] == [PROMPTS[1]] * 2


def test_a_server_that_is_not_there_is_named(policy: Policy, tmp_path: Path) -> None:
    settings = RolloutSettings(engine="openai", url=("http://127.0.0.1:9/v1",))
    with pytest.raises(EngineError, match=r"rollout.url http://127.0.0.1:9/v1: APIConnectionError"):
        open_engine(policy, settings, Rollouts(tmp_path, 128, 6))
