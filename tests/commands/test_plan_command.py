"""`edgetool plan`, `train --dry-run`, and what is said before and during a run."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from rich.console import Console

from edgetool.commands import plan
from edgetool.commands.dry_run import run_dry
from edgetool.commands.plan import Comparison, Outlook, check_memory, known_shape, look_ahead
from edgetool.config import build_config
from edgetool.errors import UsageError
from edgetool.train.load import LoadSettings
from edgetool.train.memory.estimate import MIB, Machine
from edgetool.train.memory.search import GIB, Setup
from edgetool.train.settings import GRPOSettings, LoraSettings


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=120, soft_wrap=True), out


def test_a_plan_has_every_part_and_a_configuration_that_is_accepted(capsys) -> None:
    plan.run_plan("Qwen2.5-0.5B-Instruct", 8, console()[0], as_json=True)
    told = json.loads(capsys.readouterr().out)
    names = {part["name"] for part in told["parts"]}
    assert {
        "4-bit weights", "quantization constants", "embeddings, norms and biases",
        "LoRA matrices", "optimizer", "KV of the rollout", "activations", "logits chunk",
        "CUDA context",
    } <= names  # fmt: skip
    assert told["planned_mb"] < 8 * 1024
    config = build_config(told["config"], "plan")
    shape, lora = known_shape(config.model), config.lora
    again = plan.Setup(shape, lora, Machine(), 8 * GIB).plan(config.grpo)
    assert again.total_mb == told["planned_mb"]


def test_a_plan_on_a_terminal_shows_the_same_configuration() -> None:
    screen, out = console()
    plan.run_plan("nano", 8, screen)
    text = out.getvalue()
    assert "not measured" in text and "completions a group" in text
    shown = yaml.safe_load(text[text.index("model: nano") :])
    assert build_config(shown, "plan").grpo.num_generations == 8


def test_a_gpu_that_is_too_small_gets_the_largest_model_that_fits() -> None:
    with pytest.raises(UsageError) as caught:
        plan.run_plan("Qwen3-4B-Instruct-2507", 2, console()[0])
    message = str(caught.value)
    assert "does not fit 2 GiB" in message
    named = message.rpartition("edgetool plan ")[2]
    model, _, vram = named.partition(" --vram ")
    screen, out = console()
    plan.run_plan(model, float(vram), screen)  # and it does
    assert "MiB planned" in out.getvalue()


@pytest.mark.parametrize("vram", [0, -8, float("nan")])
def test_a_card_without_memory_is_refused(vram: float) -> None:
    with pytest.raises(UsageError, match="--vram"):
        plan.run_plan("nano", vram, console()[0])


def test_a_model_folder_has_the_shape_of_its_configuration(tiny_model) -> None:
    shape = known_shape(str(tiny_model))
    assert (shape.hidden, shape.layers, shape.kv_heads) == (256, 2, 2)


def outlook(free_mb: float, **grpo: Any) -> Outlook:
    shape = known_shape("Qwen2.5-0.5B-Instruct")
    setup = Setup(shape, LoraSettings(), Machine(), free_mb * MIB)
    return Outlook(setup, setup.plan(GRPOSettings(max_prompt_length=2048, **grpo)), free_mb)


def test_enough_memory_is_not_worth_a_word() -> None:
    assert check_memory(outlook(64_000)) is None


def test_a_system_that_does_not_tell_is_not_worth_a_word_either() -> None:
    assert check_memory(replace(outlook(64_000), free_mb=0)) is None


def test_too_little_memory_is_answered_with_settings_that_fit() -> None:
    tight = outlook(4000, num_generations=16)
    warning = check_memory(tight)
    assert warning and "4,000 MiB free" in warning
    changes = dict(part.split("=") for part in warning.split() if part.startswith("grpo."))
    grpo = GRPOSettings(**{k.removeprefix("grpo."): int(v) for k, v in changes.items()})
    assert tight.setup.plan(grpo).total_mb < 4000


def test_hopeless_memory_is_refused_with_a_model_that_fits() -> None:
    with pytest.raises(UsageError, match="edgetool plan nano"):
        check_memory(outlook(900))


def test_a_dry_run_says_the_plan_and_loads_nothing(tiny_model, tmp_path) -> None:
    values = {"model": str(tiny_model), "output_dir": str(tmp_path / "run")}
    screen, out = console()
    run_dry(build_config(values, "x"), screen)
    assert "MiB planned" in out.getvalue() and "activations" in out.getvalue()
    assert not (tmp_path / "run").exists()


def test_the_plan_follows_how_this_machine_would_hold_the_model() -> None:
    config = build_config({"model": "nano", "output_dir": "x"}, "x")
    small = look_ahead(config, known_shape("nano"), LoadSettings(device="cpu", bf16=False))
    assert small.setup.machine == Machine("cpu", False, 4, True, 2048)
    # 4 bytes x 3.1 billion are more than a CPU expands
    large = known_shape("Qwen2.5-3B-Instruct")
    packed = look_ahead(config, large, LoadSettings(device="cpu", bf16=False))
    assert packed.setup.machine == Machine("cpu", True, 4, False, 2048)


def test_after_ten_steps_planned_and_measured_are_compared_once() -> None:
    seen = outlook(64_000)
    planned = seen.plan.tensors_mb
    comparison = Comparison(seen)
    lines = [
        comparison.line({"device_mb": 1000.0 if step == 3 else 500.0, "rss_mb": 9.0})
        for step in range(20)
    ]
    assert [n for n, line in enumerate(lines) if line] == [9]
    assert f"{planned:,} MiB planned, 1,000 MiB measured ({planned / 1000 - 1:+.0%})" in lines[9]
