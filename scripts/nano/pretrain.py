"""nano from random weights: a copying drill, then short rows, then the real mixture.

Loss is taken over answers only. Hidden matrices are trained with Muon, embeddings and norms with
AdamW; on this size Muon reaches the same loss in about half the steps.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from scripts.nano.batches import IGNORED, Batch, Packer, copy_drill
from scripts.nano.muon import Muon
from scripts.nano.rows import SnipsGroups, SyntheticGroups, endless

Stream = Iterator[Batch]
CONTEXT = 4096


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: how many steps, and where its batches come from."""

    name: str
    steps: int
    batches: Callable[[], Stream]


def curriculum(packer: Packer, seed: int, scale: float = 1.0) -> list[Stage]:
    """The stages nano went through. `scale` shortens all of them, for a trial."""
    vocab = packer.tokenizer.get_vocab_size()
    short = [(0.6, SyntheticGroups(6, tools=1, parameters=2)), (0.4, SnipsGroups(6, exchange=0.7))]
    mixed = [(0.25, SyntheticGroups(6, tools=3, parameters=4)), (0.75, SnipsGroups(6))]
    return [
        Stage("copy", int(40 * scale), lambda: _drill(vocab, seed)),
        Stage("short", int(120 * scale), lambda: _rows(packer, short, 8, seed + 1)),
        Stage("mixed", int(740 * scale), lambda: _rows(packer, mixed, 8, seed + 2)),
    ]


def _drill(vocab: int, seed: int) -> Stream:
    rng = random.Random(seed)
    while True:
        yield copy_drill(rng, vocab, rows=64, length=96)


def _rows(packer: Packer, sources: list, groups: int, seed: int) -> Stream:
    supply = endless(sources, seed)
    while True:
        yield packer(list(itertools.islice(supply, groups)))


def new_model(vocab: int, eos: int, pad: int) -> Qwen2ForCausalLM:
    """Hidden and feed-forward sizes are multiples of 256, so that K-quants apply."""
    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return Qwen2ForCausalLM(config)


def answer_logits(model: Qwen2ForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [A, V] and labels [A] of the A answer tokens of a batch."""
    hidden = model.model(
        input_ids=batch.ids,
        position_ids=batch.positions,
        attention_mask=batch.mask,
        use_cache=False,
    ).last_hidden_state  # [B, L, H]
    wanted = batch.labels != IGNORED
    return model.lm_head(hidden[wanted]), batch.labels[wanted]


def pretrain(model: Qwen2ForCausalLM, stages: list[Stage], log: Path, save: Callable) -> None:
    """Runs every stage in turn; one line of JSON per 25 steps in `log`."""
    muon, adamw = _optimizers(model)
    total, step, start = sum(stage.steps for stage in stages), 0, time.time()
    for stage in stages:
        for batch in itertools.islice(stage.batches(), stage.steps):
            rate = _schedule(step, total)
            for optimizer in (muon, adamw):
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * rate
            logits, labels = answer_logits(model, batch)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in (muon, adamw):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 25 == 0 or step == total:
                right = (logits.argmax(-1) == labels).float().mean().item()
                entry = {"step": step, "stage": stage.name, "loss": round(loss.item(), 4)}
                entry |= {"token_accuracy": round(right, 4), "seconds": round(time.time() - start)}
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
            if step % 100 == 0 or step == total:
                save(step)


def _optimizers(model: Qwen2ForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    matrices, rest = [], []
    for name, weight in model.named_parameters():
        (matrices if weight.ndim == 2 and "embed" not in name else rest).append(weight)
    muon = Muon(matrices, lr=5e-3)
    adamw = torch.optim.AdamW(rest, lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95))
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return muon, adamw


def _schedule(step: int, total: int) -> float:
    """Linear warm-up over 20 steps, flat, then a cosine to 5 % over the last 40 %."""
    warm = min(1.0, (step + 1) / 20)
    tail = max(0.0, (step / total - 0.6) / 0.4)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * tail)))
