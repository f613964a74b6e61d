"""Fixtures every test may use: the shared folder, a tiny random model and a few rows."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgetool.calls.types import Example, ExpectedCall, Tool

ROOT = Path(__file__).resolve().parent.parent

TINY_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}"
    "<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data, tokenizers and templates; tests that need it skip without it."""
    folder = Path(os.environ.get("EDGETOOL_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared fixtures at {folder}; set EDGETOOL_SHARED to their folder")
    return folder


def weather_tool() -> Tool:
    properties = {
        "city": {"type": "string", "description": "City name"},
        "days": {"type": "integer", "description": "Days ahead"},
    }
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    return Tool("get_weather", "Weather forecast for a city", parameters)


def music_tool() -> Tool:
    properties = {"artist": {"type": "string", "description": "Who performs"}}
    parameters = {"type": "object", "properties": properties, "required": ["artist"]}
    return Tool("play_music", "Play music", parameters)


def user(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": text},)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """One call, two parallel calls, and no call."""
    weather, music = weather_tool(), music_tool()
    oslo = ExpectedCall("get_weather", {"city": "Oslo"})
    rome = ExpectedCall("get_weather", {"city": "Rome", "days": 3})
    return [
        Example("one", user("weather in Oslo please"), (weather, music), (oslo,)),
        Example("two", user("weather in Oslo, and in Rome for 3 days"), (weather,), (oslo, rome)),
        Example("none", user("tell me a joke"), (weather, music), ()),
    ]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """A random Qwen2 with its own byte-level BPE: every part of a real model, none of the skill."""
    folder = tmp_path_factory.mktemp("tiny_model")
    _write_tokenizer(folder, examples)
    _write_weights(folder)
    return folder


@pytest.fixture(scope="session")
def nano_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default as a GGUF file."""
    pytest.importorskip("llama_cpp")
    from edgetool.export.export import export_gguf

    folder = tmp_path_factory.mktemp("nano")
    return export_gguf(ROOT / "models" / "nano", None, folder, ["F16"])[0].path


@pytest.fixture(scope="session")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    from edgetool.export.export import export_gguf

    return export_gguf(tiny_model, None, tmp_path_factory.mktemp("gguf"), ["F16"])[0].path


@pytest.fixture(scope="session")
def session(gguf: Path) -> Iterator[Any]:
    from edgetool.llama.session import LlamaSession

    with LlamaSession(gguf, context=1024) as opened:
        yield opened


@pytest.fixture(scope="module")
def serving() -> Iterator[Callable[..., str]]:
    """Starts real servers on free ports; gives their addresses."""
    from edgetool.server.app import ChatServer
    from edgetool.server.listen import bind, server
    from edgetool.server.page import page_routes

    running = []

    def start(writer: Any, *, patience: float = 30.0, **settings: Any) -> str:
        listening = bind("127.0.0.1", 0)
        front = ChatServer(writer, "tiny", **settings)
        app = front.app(page_routes(front.tools, front.guarded))
        own = server(app, patience=patience)
        thread = threading.Thread(target=own.run, kwargs={"sockets": [listening]})
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.start()
        running.append((own, thread))
        while not own.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return address

    yield start
    for own, _ in running:
        own.should_exit = True
    for _, thread in running:
        thread.join()


def _write_tokenizer(folder: Path, examples: list[Example]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=control,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [json.dumps(tool.as_openai()) for example in examples for tool in example.tools] * 3
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(t, special=False) for t in ("<tool_call>", "</tool_call>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 2048,
        "chat_template": TINY_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _write_weights(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
