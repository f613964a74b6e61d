"""`edgetool sft` and `edgetool train --init-adapter`: what a run folder remembers and refuses."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from edgetool.calls.types import Example
from edgetool.commands.sft import run_sft
from edgetool.commands.train import run_training
from edgetool.config import Config, build_config
from edgetool.data.rows import write_rows
from edgetool.errors import ConfigError, UsageError
from edgetool.run_folder import RunFolder, open_policy
from edgetool.train.loop import TrainResult

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


Configure = Callable[..., Config]


@pytest.fixture
def configure(tmp_path: Path, tiny_model: Path, examples: list[Example]) -> Configure:
    """The configuration of both commands, with its output folder's name."""
    write_rows(tmp_path / "rows.jsonl", examples)
    shared = {"max_steps": 2, "gradient_checkpointing": False, "bf16": False}
    grpo = {"num_generations": 2, "prompts_per_step": 2, "max_completion_length": 4}

    def made(name: str, **changes: Any) -> Config:
        values = {
            "model": str(tiny_model),
            "output_dir": str(tmp_path / name),
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "lora": {"r": 2, "lora_alpha": 4},
            "grpo": {**shared, **grpo},
            "sft": {**shared, "learning_rate": 1e-2},
            **changes,
        }
        return build_config(values, "my.yaml")

    return made


OWN_REWARDS = """
def letters(completions, completion_ids, level, **columns):
    return [len(c[0]["content"]) % 7 / 7 + len(i) * n for c, i, n in
            zip(completions, completion_ids, level, strict=True)]

def silent(parsed, example):
    return float(not parsed.calls)
"""


def test_a_run_says_who_writes_its_completions_and_leaves_no_file_of_it(
    configure: Configure,
) -> None:
    out = io.StringIO()
    result = run_training(
        configure("run", rollout={"engine": "llama"}), Console(file=out, width=200)
    )
    assert "llama.cpp writes the completions, 4 at a time, with rollout.gguf" in out.getvalue()
    assert result.adapter is not None
    assert list(result.adapter.parent.glob("rollout*")) == []


def test_a_run_is_paid_by_ones_own_functions(
    configure: Configure, tmp_path: Path, examples: list[Example]
) -> None:
    (tmp_path / "mine.py").write_text(OWN_REWARDS)
    write_rows(tmp_path / "rows.jsonl", [replace(e, columns={"level": 2}) for e in examples])
    own = {f"{tmp_path}/mine.py:letters": 0.5, f"{tmp_path}/mine.py:silent": {"weight": 2.0}}
    last = run_training(configure("run", rewards=own), quiet()).last
    assert last["rewards/letters/mean"] >= 2.0  # 2 x tokens, at least one
    assert last["reward"] == pytest.approx(
        0.5 * last["rewards/letters/mean"] + 2 * last["rewards/silent/mean"]
    )


def quiet() -> Console:
    return Console(file=io.StringIO(), width=1000)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_a_supervised_run_is_a_run_like_any_other(configure: Configure, tmp_path: Path) -> None:
    console = quiet()
    result = run_sft(configure("warm", sft={"max_steps": 1, "bf16": False}), console)
    assert result.adapter == tmp_path / "warm" / "adapter"
    run = RunFolder.open(tmp_path / "warm")
    assert run.verb == "sft" and run.settings == run.config.sft
    assert len(open_policy(run, trained=True).adapter.peft_config) == 1
    assert [row["step"] for row in run.metrics()] == [1]
    assert f"--init-adapter {tmp_path / 'warm'} --set output_dir=" in said(console)
    assert "step 1/1  loss" in said(console) and "accuracy" in said(console)


def test_grpo_starts_from_a_run_s_adapter_and_remembers_it(
    configure: Configure, tmp_path: Path
) -> None:
    run_sft(configure("warm"), quiet())
    run_training(configure("grpo"), quiet(), init_adapter=tmp_path / "warm")
    assert same(tmp_path / "grpo" / "init_adapter", tmp_path / "warm" / "adapter")
    assert facts(tmp_path / "grpo")["init_adapter"] == str(tmp_path / "warm" / "adapter")
    assert facts(tmp_path / "grpo")["verb"] == "train"


def stopped_after_one_step(config: Config, start: Path | None) -> TrainResult:
    from edgetool.train import progress

    real = progress.Panel.show

    def interrupting(self: progress.Panel, report: Any) -> None:
        real(self, report)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.Panel, "show", interrupting)
        return run_training(config, quiet(), init_adapter=start)


def test_resuming_needs_the_starting_adapter_no_more_and_ends_the_same(
    configure: Configure, tmp_path: Path
) -> None:
    run_sft(configure("warm"), quiet())
    grpo = {**configure("x").grpo.__dict__, "beta": 0.1, "learning_rate": 1e-2}
    run_training(configure("whole", grpo=grpo), quiet(), init_adapter=tmp_path / "warm")
    stopped = stopped_after_one_step(configure("parts", grpo=grpo), tmp_path / "warm")
    assert stopped.interrupted and stopped.steps == 1
    shutil.rmtree(tmp_path / "warm")
    resumed = run_training(configure("parts", grpo=grpo), quiet(), resume=True)
    assert resumed.steps == 2
    # with beta > 0 the reference policy, the adapter it started from, has to be the same too
    kl = [RunFolder(tmp_path / name).metrics()[-1]["kl"] for name in ("whole", "parts")]
    assert kl[0] == kl[1]
    assert same(tmp_path / "whole" / "adapter", tmp_path / "parts" / "adapter")
    assert facts(tmp_path / "parts")["init_adapter"] == str(tmp_path / "warm" / "adapter")


def test_resuming_before_the_first_checkpoint_starts_from_the_adapter_again(
    configure: Configure, tmp_path: Path
) -> None:
    run_sft(configure("warm"), quiet())
    run_training(configure("whole"), quiet(), init_adapter=tmp_path / "warm")
    run_training(configure("killed"), quiet(), init_adapter=tmp_path / "warm")
    for made in ("checkpoints", "adapter"):  # as if it had been killed in its first step
        shutil.rmtree(tmp_path / "killed" / made)
    run_training(configure("killed"), quiet(), resume=True)
    assert same(tmp_path / "whole" / "adapter", tmp_path / "killed" / "adapter")


def test_a_resumed_run_takes_no_other_start(configure: Configure, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        run_sft(configure(name, sft={"max_steps": 1, "seed": seed, "bf16": False}), quiet())
    run_training(configure("grpo"), quiet(), init_adapter=tmp_path / "one")
    again = run_training(configure("grpo"), quiet(), resume=True, init_adapter=tmp_path / "one")
    assert again.steps == 2  # the same start, said again
    with pytest.raises(UsageError, match=r"--init-adapter .*two: .*grpo began with .*one/adapter"):
        run_training(configure("grpo"), quiet(), resume=True, init_adapter=tmp_path / "two")
    run_training(configure("new"), quiet())
    with pytest.raises(UsageError, match="began with a new adapter"):
        run_training(configure("new"), quiet(), resume=True, init_adapter=tmp_path / "one")


def test_neither_command_goes_on_with_the_other_s_run(configure: Configure, tmp_path: Path) -> None:
    run_sft(configure("run"), quiet())
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    with pytest.raises(UsageError, match="made by `edgetool sft`, and `edgetool train` cannot"):
        run_training(configure("run"), quiet(), resume=True)
    with pytest.raises(UsageError, match="holds a run already"):
        run_training(configure("run"), quiet(), init_adapter=tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.*")} == before


def test_an_adapter_that_does_not_fit_leaves_no_run_behind(
    configure: Configure, tmp_path: Path
) -> None:
    run_sft(configure("warm"), quiet())
    with pytest.raises(ConfigError, match=r"r is 2 there and 4 here.*--set lora\.r=2"):
        other = configure("grpo", lora={"r": 4, "lora_alpha": 4})
        run_training(other, quiet(), init_adapter=tmp_path / "warm")
    assert not (tmp_path / "grpo").exists()


def test_an_unfinished_supervised_run_is_finished_by_its_own_command(
    configure: Configure, tmp_path: Path
) -> None:
    run_sft(configure("run"), quiet())
    shutil.rmtree(tmp_path / "run" / "adapter")
    with pytest.raises(UsageError, match=r"`edgetool sft --config .*config\.yaml --resume`"):
        assert RunFolder.open(tmp_path / "run").adapter
