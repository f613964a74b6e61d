"""How long a step will take, modelled from one layer of the model's shape, timed on this machine.

The layer has random weights, so the model itself need not be loaded. A step's layers, tokens and
passes multiply it. What is left out: attention over long prompts, 4-bit weights that a GPU expands,
groups of equal rewards, which are not learned from, and the reward functions.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from edgetool.system import quiet_bitsandbytes
from edgetool.train.memory.estimate import Machine
from edgetool.train.memory.model_shape import Shape
from edgetool.train.settings import LoraSettings

TOKENS = 256  # read or learned from in one timing
VOCABULARY = 2048  # rows of the LM head that are timed
TIMES = 3  # the least of so many counts


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine.

    decode   a layer, one token for each sequence of a rollout
    read     a layer, per token that is read
    learn    a layer, per token, forward and back
    head     the LM head, per token
    layers   of the model
    """

    decode: float
    read: float
    learn: float
    head: float
    layers: int


@dataclass(frozen=True)
class Work:
    """What a step does.

    prompts       B, prompts read
    sequences     N, completions of all of them
    prompt, completion   tokens of each
    iterations    optimizer passes; 0 and more
    recomputed    activations are computed twice
    """

    prompts: int
    sequences: int
    prompt: float
    completion: float
    iterations: int = 1
    recomputed: bool = True

    @property
    def learned(self) -> float:
        """Tokens of the training pass: prompts once, every completion."""
        return self.prompts * self.prompt + self.sequences * self.completion


def rollout_seconds(pace: Pace, work: Work) -> float:
    read = pace.read * work.prompts * work.prompt + pace.decode * work.completion
    return pace.layers * read + pace.head * work.sequences * work.completion


def learning_seconds(pace: Pace, work: Work) -> float:
    forward = pace.read if work.recomputed else 0.0
    layers = pace.layers * (pace.learn + forward) * work.learned
    head = 3 * pace.head * work.sequences * work.completion  # forward, again, and back
    return work.iterations * (layers + head)


def timed_pace(
    config: Any, shape: Shape, machine: Machine, lora: LoraSettings, sequences: int
) -> Pace:
    """Time one layer. `config`: transformers' configuration of the model, which stays as it is."""
    dtype = torch.float32 if machine.value_bytes == 4 else torch.bfloat16
    layer = _one_layer(config, machine.device, dtype)
    one = torch.zeros(sequences, 1, dtype=torch.long, device=machine.device)
    many = torch.zeros(1, TOKENS, dtype=torch.long, device=machine.device)
    rows = torch.zeros(TOKENS, shape.hidden, dtype=dtype, device=machine.device)
    head = torch.zeros(VOCABULARY, shape.hidden, dtype=dtype, device=machine.device)

    def learn() -> None:
        inputs = layer.get_input_embeddings()(many).detach().requires_grad_()
        layer(inputs_embeds=inputs, use_cache=False).last_hidden_state.float().sum().backward()

    with torch.no_grad():
        decode = _seconds(lambda: layer(input_ids=one, use_cache=False))
        read = _seconds(lambda: layer(input_ids=many, use_cache=False)) / TOKENS
        part = _seconds(lambda: rows @ head.T) / TOKENS
    _adapt(layer, lora)
    return Pace(
        decode=decode,
        read=read,
        learn=_seconds(learn) / TOKENS,
        head=part * shape.vocabulary / VOCABULARY,
        layers=shape.layers,
    )


def _one_layer(config: Any, device: str, dtype: torch.dtype) -> Any:
    from transformers import AutoModel

    small = copy.deepcopy(config)
    small.num_hidden_layers, small.vocab_size = 1, 8
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(small, name, None)
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:1]
    with torch.random.fork_rng(devices=[]):
        layer = AutoModel.from_config(small, dtype=dtype, attn_implementation="sdpa")
    return layer.to(device).eval().requires_grad_(False)


def _adapt(layer: Any, lora: LoraSettings) -> None:
    """Put LoRA on, whose small products are much of a small layer's time."""
    quiet_bitsandbytes()  # inject_adapter_in_model imports it
    from peft import LoraConfig, inject_adapter_in_model

    names = lora.target_modules
    targets = names if isinstance(names, str) else list(names)
    inject_adapter_in_model(LoraConfig(r=lora.r, target_modules=targets), layer)
    for parameter in layer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _seconds(work: Callable[[], Any]) -> float:
    """The least of TIMES, after one that warms up."""
    found = []
    for _ in range(TIMES + 1):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
