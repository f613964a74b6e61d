"""Memory worked out by hand, for a model small enough to do so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgetool.architectures import ARCHITECTURES
from edgetool.train.memory.estimate import ALWAYS, MIB, ROLLOUT, TRAINING, Machine, Plan, plan
from edgetool.train.memory.model_shape import KNOWN, Shape
from edgetool.train.memory.search import GIB, USABLE, Setup, largest_fit, largest_groups
from edgetool.train.settings import GRPOSettings, LoraSettings

MEASURED = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "measured"

# 2 layers; q 64 x 64, k and v 64 x 32, o 64 x 64, gate and up 64 x 128, down 128 x 64:
# 4096 + 2048 + 2048 + 4096 + 3 * 8192 = 36864 weights a layer
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
SHAPE = Shape.of(CONFIG, "small")
GRPO = GRPOSettings(
    num_generations=4, prompts_per_step=2, max_prompt_length=100, max_completion_length=64
)
LORA = LoraSettings(r=2)


def made(grpo: GRPOSettings = GRPO, machine: Machine | None = None, **lora: Any) -> Plan:
    return plan(SHAPE, grpo, replace(LORA, **lora), machine or Machine())


def size(planned: Plan, name: str, when: str = ALWAYS) -> int:
    [part] = [p for p in planned.parts if p.name == name and p.when == when]
    return part.bytes


def test_sizes_are_known_of_everything_that_trains():
    assert set(ARCHITECTURES) <= set(KNOWN)


def test_four_bit_weights_are_half_a_byte_each():
    assert size(made(), "4-bit weights") == 2 * 36864 // 2


def test_quantization_constants_are_a_byte_for_64_weights_and_tables():
    # blocks per matrix: 64, 32, 32, 64, 128, 128, 128; each needs one second block of 4 bytes and
    # tables of (16 + 256 + 1) * 4 = 1092 bytes
    assert size(made(), "quantization constants") == 2 * (576 + 7 * 4 + 7 * 1092)


def test_embeddings_and_norms_are_held_in_the_compute_dtype():
    # 1000 * 64 embeddings, 2 norms of 64 a layer and a last one
    assert size(made(), "embeddings, norms and biases") == (64000 + 2 * 2 * 64 + 64) * 2


def test_untied_embeddings_count_twice():
    shape = Shape.of({**CONFIG, "tie_word_embeddings": False}, "small")
    untied = plan(shape, GRPO, LORA, Machine())
    assert size(untied, "embeddings, norms and biases") == (128000 + 320) * 2


# r (in + out) per matrix: 2 * (128 + 96 + 96 + 128 + 3 * 192) = 2048 a layer
@pytest.mark.parametrize(
    ("targets", "adapter"), [("all-linear", 4096), (("q_proj", "v_proj"), 2 * 2 * (128 + 96))]
)
def test_lora_is_counted_in_float32_with_gradients_and_two_moments(targets, adapter):
    planned = made(target_modules=targets)
    assert size(planned, "LoRA matrices") == 4 * adapter
    assert size(planned, "their gradients") == 8 * adapter
    assert size(planned, "optimizer") == 8 * adapter


def test_8_bit_moments_take_a_byte_each_and_a_scale_for_256():
    assert size(made(replace(GRPO, optim="adamw_8bit")), "optimizer") == 4096 * 2 + 4096 * 2 // 64


def test_kv_is_the_prompt_once_a_group_and_the_room_of_every_completion():
    # a token: keys and values of 2 layers, 2 heads of 16, 2 bytes: 256 bytes.
    # 2 prompts of 100; 8 completions with room for 64; survivors that move: 75 % once more
    expected = (2 * 100 + 8 * 64) * 256
    assert size(made(), "KV of the rollout", ROLLOUT) == expected + int(0.75 * expected)


def test_room_for_completions_doubles_when_it_is_full():
    longer = made(replace(GRPO, max_completion_length=65))
    expected = (2 * 100 + 8 * 128) * 256
    assert size(longer, "KV of the rollout", ROLLOUT) == expected + int(0.75 * expected)


def test_accumulation_adds_nothing_to_the_rollout():
    wide = made(replace(GRPO, prompts_per_step=8))
    split = made(replace(GRPO, gradient_accumulation_steps=4))
    assert wide.sum(ROLLOUT) > split.sum(ROLLOUT) == made().sum(ROLLOUT)


def test_a_cpu_holds_expanded_weights_twice_and_no_cuda_context():
    cpu = made(machine=Machine("cpu", packed=False, value_bytes=4, twin=True))
    assert size(cpu, "weights, expanded from 4 bits") == 2 * 36864 * 4
    assert size(cpu, "their copy that decodes") == 2 * 36864 * 4
    assert not [p for p in cpu.parts if p.name == "CUDA context"]


def test_the_phases_follow_each_other_so_the_larger_counts():
    planned = made()
    larger = max(planned.sum(ROLLOUT), planned.sum(TRAINING))
    assert planned.total == planned.sum(ALWAYS) + larger
    assert planned.total_mb - planned.tensors_mb in (512, 513)  # CUDA's own


@pytest.mark.parametrize(
    "changes",
    [
        {"num_generations": 8},
        {"prompts_per_step": 4},
        {"max_prompt_length": 2000},
        {"max_completion_length": 512},
        {"gradient_checkpointing": False},
    ],
    ids=str,
)
def test_more_of_anything_takes_more(changes):
    assert made(replace(GRPO, **changes)).total > made().total


def test_an_open_prompt_length_is_what_the_context_leaves():
    left_open = made(replace(GRPO, max_prompt_length=None))
    assert left_open == made(replace(GRPO, max_prompt_length=4096 - 64))


def test_the_largest_fit_fits_and_more_prompts_would_not():
    setup = Setup(SHAPE, LORA, Machine(), 1.0 * GIB)
    fit = largest_fit(setup)
    assert fit is not None and fit.plan.total <= USABLE * GIB
    assert fit.grpo.prompts_per_step * fit.grpo.gradient_accumulation_steps == 8
    assert fit.grpo.num_generations == 8


def test_nothing_fits_where_cuda_alone_is_too_much():
    assert largest_fit(Setup(SHAPE, LORA, Machine(), 400 * MIB)) is None


def test_longer_texts_leave_room_for_smaller_groups():
    rows = largest_groups(Setup(SHAPE, LORA, Machine(), 0.7 * GIB))
    sizes = [size for _, _, size in rows]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert all(prompt + completion <= 4096 for prompt, completion, _ in rows)


def test_settings_that_are_not_looked_for_are_kept():
    base = GRPOSettings(learning_rate=7e-6, optim="adamw_8bit")
    fit = largest_fit(Setup(SHAPE, LORA, Machine(), 8 * GIB), base)
    assert fit is not None
    assert (fit.grpo.learning_rate, fit.grpo.optim) == (7e-6, "adamw_8bit")


def test_the_plan_was_within_a_fifth_of_what_a_cpu_held():
    rows = json.loads((MEASURED / "plan_cpu.json").read_text(encoding="utf-8"))
    assert {row["model"] for row in rows} == {"nano", "Qwen2.5-0.5B-Instruct"}
    for row in rows:
        assert row["planned_mb"] == pytest.approx(row["measured_mb"], rel=0.2)


def test_fused_matrices_hold_what_their_parts_would():
    phi3 = Shape.of({**CONFIG, "architectures": ["Phi3ForCausalLM"]}, "small")
    assert phi3.parameters == SHAPE.parameters
    assert [linear.outputs for linear in phi3.linears] == [64 + 2 * 32, 64, 2 * 128, 64]
