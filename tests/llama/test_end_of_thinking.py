"""Thinking in llama.cpp, in the policy and over HTTP: asked for, held and read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.thinking import ThinkingSyntax, Thought
from edgetool.calls.types import Example
from edgetool.commands.targets import policy_runtime
from edgetool.config import build_config
from edgetool.export.export import export_gguf
from edgetool.grammar.gbnf import GBNFMaker, to_gbnf
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.client import WorkerClient
from edgetool.llama.session import LlamaSession
from edgetool.runtime import CONSTRAINED, Sampling
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.settings import SFTSettings
from edgetool.train.sft import prepare_supervised

PLAIN = LoadSettings(load_in_4bit=False, bf16=False, device="cpu")
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n"
QWEN = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
OPENS = QWEN.replace("{% endif %}", "{% else %}<think>\n{% endif %}")


def thinking_model(source: Path, folder: Path, switch: str) -> Path:
    """The tiny model with a switch in its template."""
    copy = Path(shutil.copytree(source, folder / "model"))
    file = copy / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    template = settings["chat_template"].replace(GENERATION, GENERATION + switch)
    file.write_text(json.dumps({**settings, "chat_template": template}), encoding="utf-8")
    return copy


@pytest.fixture(scope="module", params=[QWEN, OPENS], ids=["asked", "opened"])
def folder(request: Any, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thinking_model(tiny_model, tmp_path_factory.mktemp("thinking"), request.param)


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return export_gguf(folder, None, folder, ["F16"])[0].path


@pytest.fixture(scope="module")
def on(file: Path) -> Iterator[LlamaSession]:
    with LlamaSession(file, thinking=True) as session:
        yield session


def test_training_and_the_shipped_file_make_the_same_prompts(
    folder: Path, file: Path, examples: list[Example], tmp_path: Path
) -> None:
    for thinking in (False, True):
        policy = load_policy(folder, None, replace(PLAIN, thinking=thinking))
        shipped = file
        if thinking:
            shipped = export_gguf(folder, None, tmp_path, ["F16"], thinking=True)[0].path
        with LlamaSession(shipped) as session:
            assert session.prompter.thinking is thinking
            for row in examples:
                prompt = policy.prompter.ids(row.messages, row.tools)
                assert session.prompter.ids(row.messages, row.tools) == prompt


@pytest.mark.parametrize("maker", [for_llama, GBNFMaker])
def test_a_grammar_lets_a_thought_come_first(
    on: LlamaSession, examples: list[Example], maker: Callable[..., Any]
) -> None:
    syntax, call = on.syntax, examples[0].calls
    assert isinstance(syntax, ThinkingSyntax)
    lead = "" if syntax.thought.opened else "<think>"
    text = f"{lead}\nOslo, I think {{it}}.\n</think>\n\n{syntax.render(call)}"
    constraint = maker(on)(examples[0].tools)
    size = on.vocabulary.size
    for token in on.prompter.encode(text):
        assert np.isfinite(constraint.mask(np.zeros(size, np.float32))[token])
        constraint.advance(token, 1000)
    after = constraint.mask(np.zeros(size, np.float32))
    assert np.isfinite(after[list(on.vocabulary.stop_ids)]).any()


def test_a_random_model_ends_its_thought_and_its_calls_in_time(
    on: LlamaSession, examples: list[Example]
) -> None:
    make, row = for_llama(on), examples[0]
    ids = on.prompter.ids(row.messages, row.tools)
    for seed in range(6):
        sampling = Sampling(max_completion_length=110, temperature=1.0, seed=seed)
        done = on.generate(ids, sampling, make(row.tools, required=True))
        assert done.finished
        parsed = on.syntax.parse(done.text, row.tools)
        assert parsed.problem is None
        assert parsed.calls


def test_the_policy_is_held_behind_a_thought_too(folder: Path, examples: list[Example]) -> None:
    runtime = policy_runtime(load_policy(folder, None, replace(PLAIN, thinking=True)))
    sampling = Sampling(max_completion_length=110, temperature=1.0, seed=1)
    for index, done in runtime.generate(examples[:2], sampling, CONSTRAINED):
        assert runtime.syntax.parse(done.text, examples[index].tools).problem is None
    assert runtime.fingerprint.endswith("thinking")


def test_rows_are_taught_as_they_are_judged(folder: Path, examples: list[Example]) -> None:
    for thinking in (False, True):
        policy = load_policy(folder, None, replace(PLAIN, thinking=thinking))
        assert len(prepare_supervised(policy, examples, SFTSettings()).rows) == len(examples)


@pytest.mark.parametrize("name", syntaxes.names())
def test_every_grammar_stays_one_with_a_thought_before_it(
    name: str, examples: list[Example], on: LlamaSession
) -> None:
    for opened in (False, True):
        syntax = ThinkingSyntax(syntaxes.get(name), Thought(opened=opened))
        maker = for_llama(on).for_syntax(syntax)
        constraint = maker(examples[0].tools)
        assert np.isfinite(constraint.mask(np.zeros(on.vocabulary.size, np.float32))).any()


def test_hermes_has_the_form_in_gbnf() -> None:
    syntax = ThinkingSyntax(syntaxes.get("hermes"), Thought())
    assert "root ::= thought? spoken" in to_gbnf(syntax.grammar([]))


@pytest.fixture(scope="module")
def url(file: Path, serving: Callable[..., str]) -> Iterator[str]:
    with WorkerClient(file, context=1024) as writer:
        yield serving(writer)


def asked(url: str, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "weather in Oslo"}]
    return httpx.post(
        f"{url}/v1/chat/completions",
        json={"messages": messages, "max_tokens": 8, **body},
        timeout=60,
    )


def test_a_request_switches_thinking_on_and_off(url: str, on: LlamaSession) -> None:
    lengths = {}
    for told in (None, {"enable_thinking": False}, {"enable_thinking": True}, {"thinking": True}):
        answer = asked(url, chat_template_kwargs=told)
        assert answer.status_code == 200, answer.text
        lengths[json.dumps(told)] = answer.json()["usage"]["prompt_tokens"]
    default, off, thinking, also = lengths.values()
    assert default == off
    assert thinking == also < off  # the empty thought is the longer way
    messages = [{"role": "user", "content": "weather in Oslo"}]
    assert thinking == len(on.prompter.ids(messages, []))


def test_other_settings_of_a_template_are_refused_by_name(url: str) -> None:
    answer = asked(url, chat_template_kwargs={"enable_thinkin": True})
    assert answer.status_code == 400
    assert "enable_thinkin" in answer.json()["error"]["message"]


def test_a_model_without_a_switch_says_so(gguf: Path, serving: Callable[..., str]) -> None:
    with WorkerClient(gguf, context=512) as writer:
        address = serving(writer)
        assert asked(address, chat_template_kwargs={"enable_thinking": False}).status_code == 200
        answer = asked(address, chat_template_kwargs={"enable_thinking": True})
        assert answer.status_code == 400
        assert "no switch for it" in answer.json()["error"]["message"]


def test_an_export_says_what_the_file_does_where_nobody_sets_the_switch(
    folder: Path, tmp_path: Path
) -> None:
    from io import StringIO

    from rich.console import Console

    from edgetool.commands.export import ExportOptions, run_export

    screen = StringIO()
    console = Console(file=screen, width=200)
    run_export(str(folder), ExportOptions(out=tmp_path, quants=("F16",), rows=0), console)
    said = "thinking is off where a program does not set the template's enable_thinking"
    assert said in screen.getvalue()


def test_one_key_of_the_configuration_turns_it_on() -> None:
    values = {"model": "nano", "output_dir": "runs/x"}
    assert build_config(values, "x").thinking is False
    assert build_config({**values, "thinking": True}, "x").thinking is True
