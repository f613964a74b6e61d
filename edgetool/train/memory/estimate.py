"""What a training run will take, part by part, before anything is loaded.

Sizes that are held all the time (weights, adapter, optimizer) follow from the shape exactly. The
rollout and the training pass come one after the other, so the larger of the two counts:

    total = held all the time + max(rollout, training)

How much a pass holds at its peak is counted from the tensors its code makes. Not measured on a GPU;
on a CPU see scripts/bench/measured/plan_cpu.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgetool.train.memory.model_shape import Linear, Shape
from edgetool.train.settings import GRPOSettings, LoraSettings

MIB = 2**20
ALWAYS, ROLLOUT, TRAINING = "always", "rollout", "training"

# bitsandbytes' NF4 with double quantization: a byte for 64 weights, a float32 for 256 of those
# bytes, and per matrix two code tables and an offset.
BLOCK, SECOND_BLOCK, TABLES_BYTES = 64, 256, (16 + 256 + 1) * 4
# 8-bit moments: a byte each, and a float32 scale for so many of them (arXiv:2110.02861).
EIGHT_BIT_BLOCK = 256
# ggml's blocks are expanded so many values at once (dequantize.py), with so many bytes for each on
# the way: three copies in one byte, and products and sums in float32.
EXPANDED_AT_ONCE, EXPANDING_BYTES = 1 << 22, 15
# What CUDA, cuBLAS and their kernels take before the first tensor. An assumption: it depends on
# card and driver.
CUDA_CONTEXT_BYTES = 512 * MIB
# The interpreter with torch, transformers and peft loaded: see scripts/bench/plan_memory.py.
CPU_LIBRARIES_BYTES = 480 * MIB
# A caching allocator rounds up and fragments. glibc's, told to keep what is freed (system.py),
# does so more: of a pass of 0.5B it held 24 % more than the tensors that lived at once.
SLACK, CPU_SLACK = 0.05, 0.25


@dataclass(frozen=True)
class Machine:
    """How the base is held: packed in 4 bits or expanded, and bytes of a value in compute.

    twin   a second copy of the expanded matrices, which decodes (see policy.py)
    """

    device: str = "cuda"
    packed: bool = True
    value_bytes: int = 2
    twin: bool = False
    group_tokens: int = 16384  # packed_tokens where the settings leave it open


@dataclass(frozen=True)
class Part:
    """So many bytes, held always or only in one of the two phases."""

    name: str
    bytes: int
    when: str = ALWAYS


@dataclass(frozen=True)
class Plan:
    """All parts of one run."""

    parts: tuple[Part, ...]

    def sum(self, when: str) -> int:
        return sum(part.bytes for part in self.parts if part.when == when)

    @property
    def total(self) -> int:
        """Bytes at the worst moment."""
        return self.sum(ALWAYS) + max(self.sum(ROLLOUT), self.sum(TRAINING))

    @property
    def total_mb(self) -> int:
        return math.ceil(self.total / MIB)

    @property
    def tensors_mb(self) -> int:
        """What torch itself counts: without CUDA's context and the interpreter."""
        outside = sum(p.bytes for p in self.parts if p.name in (CONTEXT, LIBRARIES))
        return math.ceil((self.total - outside) / MIB)


CONTEXT, LIBRARIES = "CUDA context", "Python and libraries"


def plan(
    shape: Shape,
    grpo: GRPOSettings,
    lora: LoraSettings,
    machine: Machine,
    prompt: int | None = None,
) -> Plan:
    """What a GRPO run of these settings takes.

    prompt   tokens of the longest prompt; None: max_prompt_length, or what the context leaves
    """
    longest = prompt or grpo.max_prompt_length or shape.context - grpo.max_completion_length
    sizes = _Sizes(shape, grpo, lora, machine, max(1, longest))
    return Plan((*_held(sizes), *_rollout(sizes), *_training(sizes)))


def adapter_parameters(shape: Shape, lora: LoraSettings) -> int:
    targets = shape.targets(lora.target_modules)
    return shape.layers * lora.r * sum(t.inputs + t.outputs for t in targets)


@dataclass(frozen=True)
class _Sizes:
    shape: Shape
    grpo: GRPOSettings
    lora: LoraSettings
    machine: Machine
    prompt: int

    @property
    def adapter(self) -> int:
        """Parameters of the adapter."""
        return adapter_parameters(self.shape, self.lora)

    @property
    def row(self) -> int:
        """Tokens of a packed row: the prompt once, every completion without its last token."""
        grpo = self.grpo
        return self.prompt + grpo.num_generations * max(0, grpo.max_completion_length - 1)

    @property
    def rows(self) -> int:
        """Packed rows in one training pass."""
        budget = self.grpo.packed_tokens or self.machine.group_tokens
        groups = self.grpo.prompts_per_step * self.grpo.gradient_accumulation_steps
        return min(groups, max(1, budget // self.row))


def _held(sizes: _Sizes) -> list[Part]:
    shape, machine, value = sizes.shape, sizes.machine, sizes.machine.value_bytes
    weights = shape.linear_weights
    if machine.packed and shape.packed_bytes is not None:
        parts = [Part("weights, packed as in the file", shape.packed_bytes)]
    elif machine.packed:
        per_layer = [_constants(linear) for linear in shape.linears]
        parts = [
            Part("4-bit weights", weights // 2),
            Part("quantization constants", shape.layers * sum(per_layer)),
        ]
    else:
        of = "the file's blocks" if shape.packed_bytes is not None else "4 bits"
        parts = [Part(f"weights, expanded from {of}", weights * value)]
    if machine.twin:
        parts.append(Part("their copy that decodes", weights * value))
    moments = 2 * (1 + 4 / EIGHT_BIT_BLOCK) if sizes.grpo.optim == "adamw_8bit" else 8
    overhead = CONTEXT if machine.device.startswith("cuda") else LIBRARIES
    return [
        *parts,
        Part("embeddings, norms and biases", (shape.embeddings + shape.small) * value),
        Part("LoRA matrices", 4 * sizes.adapter),
        Part("their gradients", 2 * 4 * sizes.adapter),  # gathered, and those of the pass at hand
        Part("optimizer", int(moments * sizes.adapter)),
        Part(overhead, CUDA_CONTEXT_BYTES if overhead == CONTEXT else CPU_LIBRARIES_BYTES),
    ]


def _constants(linear: Linear) -> int:
    blocks = math.ceil(linear.weights / BLOCK)
    return blocks + 4 * math.ceil(blocks / SECOND_BLOCK) + TABLES_BYTES


def _rollout(sizes: _Sizes) -> list[Part]:
    """KV of prompts and completions, one step's logits, and a prompt being read."""
    from edgetool.train.attention import FIRST_CAPACITY
    from edgetool.train.rollout import MAX_SEQUENCES, PREFILL_TOKENS, WORTH_MOVING

    shape, grpo, value = sizes.shape, sizes.grpo, sizes.machine.value_bytes
    groups = min(grpo.prompts_per_step, max(1, MAX_SEQUENCES // grpo.num_generations))
    slots = groups * grpo.num_generations
    token = 2 * shape.layers * shape.kv_heads * shape.head_dim * value
    # What is written doubles its room when it is full.
    doublings = max(0, math.ceil(math.log2(max(1, grpo.max_completion_length) / FIRST_CAPACITY)))
    room = FIRST_CAPACITY * 2**doublings
    prefix, written = groups * sizes.prompt * token, slots * room * token
    # Reading the prompts joins the parts' keys and values; survivors that move are copied.
    kv = max(2 * prefix, prefix + written + int((1 - WORTH_MOVING) * (prefix + written)))
    # Sampling: logits, scaled ones, their log-probabilities, and three float64 rows of V.
    logits = slots * shape.vocabulary * (3 * 4 + 2 * 8)
    read = min(groups * sizes.prompt, max(sizes.prompt, PREFILL_TOKENS))
    return _with_slack(
        [
            Part("KV of the rollout", kv, ROLLOUT),
            Part("logits of a token", logits, ROLLOUT),
            Part("reading the prompts", read * _forward_bytes(sizes), ROLLOUT),
            Part("one matrix, expanded or copied", _largest(sizes), ROLLOUT),
        ],
        sizes.machine,
    )


def _training(sizes: _Sizes) -> list[Part]:
    """Activations of one packed pass and a chunk of logits."""
    from edgetool.train.update import LOGITS_BYTES

    shape, grpo, value = sizes.shape, sizes.grpo, sizes.machine.value_bytes
    tokens = sizes.rows * sizes.row
    layer = _layer_bytes(sizes)
    if grpo.gradient_checkpointing:
        kept = tokens * (shape.layers * shape.hidden * value + layer)
    else:
        kept = tokens * shape.layers * layer
    # As bools, in the compute dtype, and on a GPU once more, padded to what its kernel wants.
    copies = 2 if sizes.machine.device.startswith("cuda") else 1
    mask = sizes.rows * sizes.row**2 * (1 + copies * value)
    predicted = sizes.rows * grpo.num_generations * grpo.max_completion_length
    chunk = min(LOGITS_BYTES, 4 * predicted * shape.vocabulary)
    return _with_slack(
        [
            Part("activations", kept + tokens * _backward_bytes(sizes), TRAINING),
            Part("attention mask", mask, TRAINING),
            # logits, divided, log-probabilities, three for the entropy, and one gradient
            Part("logits chunk", 7 * chunk, TRAINING),
            Part("one matrix, expanded or copied", _largest(sizes), TRAINING),
        ],
        sizes.machine,
    )


def _with_slack(parts: list[Part], machine: Machine) -> list[Part]:
    share = SLACK if machine.device.startswith("cuda") else CPU_SLACK
    slack = int(share * sum(part.bytes for part in parts))
    return [*parts, Part("allocator's slack", slack, parts[0].when)]


def _largest(sizes: _Sizes) -> int:
    """What one product copies: a 4-bit matrix is expanded; a CPU's library lays a large one out
    anew, and the LM head is the largest."""
    shape, value = sizes.shape, sizes.machine.value_bytes
    if not sizes.machine.packed:
        return shape.vocabulary * shape.hidden * value
    largest = max(linear.weights for linear in shape.linears)
    ggml = EXPANDING_BYTES * min(EXPANDED_AT_ONCE, largest) if shape.packed_bytes is not None else 0
    return largest * value + ggml


def _cast(sizes: _Sizes, features: int) -> int:
    """LoRA computes in float32: bytes of an input's copy, where that is not its dtype anyway."""
    return 0 if sizes.machine.value_bytes == 4 else 4 * features


def _forward_bytes(sizes: _Sizes) -> int:
    """Per token, at the widest point of a layer, when nothing is kept for a way back."""
    shape, value = sizes.shape, sizes.machine.value_bytes
    hidden, wide = shape.hidden, shape.intermediate
    narrow = 3 * hidden * value + _cast(sizes, hidden)
    return narrow + 3 * wide * value + 4 * wide + _cast(sizes, wide)


def _layer_bytes(sizes: _Sizes) -> int:
    """Per token, what one layer keeps for its way back."""
    shape, value = sizes.shape, sizes.machine.value_bytes
    targets = {linear.name for linear in shape.targets(sizes.lora.target_modules)}
    norms = 2 * shape.hidden * (2 * 4 + value)
    queries, shared = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    rotated = 2 * (queries + shared) * value
    attention = 3 * queries * value  # keys and values repeated for every head, and the outcome
    matrices = sum(
        linear.outputs * value
        + (4 * sizes.lora.r + _cast(sizes, linear.inputs) if linear.name in targets else 0)
        for linear in shape.linears
    )
    return norms + rotated + attention + matrices + 2 * shape.intermediate * value


def _backward_bytes(sizes: _Sizes) -> int:
    """Per token, gradients on their way through the widest part of a layer."""
    return 3 * sizes.shape.intermediate * max(4, sizes.machine.value_bytes)
