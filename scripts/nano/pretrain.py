"""nano from random weights: a copying drill, then short rows, then the real mixture.

Loss is taken over answers only, and over where the guided heads look. Hidden matrices are trained
with Muon, embeddings and norms with AdamW; on this size Muon reaches the same loss in about half
the steps.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from edgetool.train.policy import Network
from scripts.nano.batches import IGNORED, Batch, Packer, copy_drill
from scripts.nano.guide import Guide
from scripts.nano.muon import Muon
from scripts.nano.rows import SnipsGroups, SyntheticGroups, endless

Stream = Iterator[Batch]
CONTEXT = 4096
FIRST_WEIGHT = 3.0
GUIDE_WEIGHT = 0.3  # of each guided head's loss, against 1 for the answers'
WARM_UP = 20  # steps
SAVE_STEPS = 100
POOL = 8  # batches whose groups are sorted by length together


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: how many steps, and where its batches come from."""

    name: str
    steps: int
    batches: Callable[[], Stream]


def curriculum(packer: Packer, seed: int, scale: float = 1.0) -> list[Stage]:
    """The stages nano went through. `scale` shortens all of them, for a trial."""
    vocab = packer.tokenizer.get_vocab_size()
    short = [(0.6, SyntheticGroups(8, tools=1, parameters=2)), (0.4, SnipsGroups(8, exchange=0.7))]
    mixed = [(0.25, SyntheticGroups(8, tools=3, parameters=4)), (0.75, SnipsGroups(8))]
    habits = [(0.25, SyntheticGroups(8)), (0.75, SnipsGroups(8, named=0.7, casual=0.95))]
    return [
        Stage("copy", int(40 * scale), lambda: _drill(vocab, seed)),
        Stage("short", int(60 * scale), lambda: _rows(packer, short, 6, seed + 1)),
        Stage("mixed", int(2100 * scale), lambda: _rows(packer, mixed, 6, seed + 2)),
        Stage("habits", int(200 * scale), lambda: _rows(packer, habits, 6, seed + 3)),
    ]


def _drill(vocab: int, seed: int) -> Stream:
    rng = random.Random(seed)
    while True:
        yield copy_drill(rng, vocab, rows=64, length=96)


def _rows(packer: Packer, sources: list, groups: int, seed: int) -> Stream:
    """Batches of groups with tools of like length, so that little of them is padding."""
    supply, rng = endless(sources, seed), random.Random(seed)
    while True:
        pool = sorted(itertools.islice(supply, groups * POOL), key=packer.tools_length)
        batches = [pool[start : start + groups] for start in range(0, len(pool), groups)]
        rng.shuffle(batches)
        yield from map(packer, batches)


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


@dataclass(frozen=True)
class Answers:
    """The A answer tokens of a batch: logits [A, V], labels [A], `first` bool [A] in its answer."""

    logits: torch.Tensor
    labels: torch.Tensor
    first: torch.Tensor

    def loss(self) -> torch.Tensor:
        """Mean cross-entropy. To call or not to call is one token of forty and counts for more."""
        losses = functional.cross_entropy(self.logits, self.labels, reduction="none")  # [A]
        weights = torch.where(self.first, FIRST_WEIGHT, 1.0)
        return (losses * weights).sum() / weights.sum()


def answers(model: Qwen2ForCausalLM, batch: Batch, guide: Guide | None = None) -> Answers:
    """Run the tools once, then every request behind its own tools."""
    network, tools = Network(model), DynamicCache(config=model.config)
    towards = guide.towards if guide else nullcontext
    with towards(batch.pointers):
        network.hidden(batch.tools, cache=tools)
    parts = []
    for chunk in batch.chunks:
        shared = [(layer.keys[chunk.groups], layer.values[chunk.groups]) for layer in tools.layers]
        with towards(chunk.pointers):
            hidden = network.hidden(
                chunk.ids,
                cache=DynamicCache(shared, config=model.config),
                position_ids=chunk.positions,
                attention_mask=chunk.mask,
            ).last_hidden_state  # [N, S, H]
        wanted = chunk.labels != IGNORED
        first = wanted & ~wanted.roll(1, dims=1)  # an answer never starts a row
        parts.append((model.lm_head(hidden[wanted]), chunk.labels[wanted], first[wanted]))
    return Answers(*(torch.cat(part) for part in zip(*parts, strict=True)))


def pretrain(
    model: Qwen2ForCausalLM,
    stages: list[Stage],
    log: Path,
    save: Callable[[], None],
    begin: int = 0,
) -> None:
    """Runs every stage in turn; one line of JSON per 10 steps in `log`.

    begin   steps an earlier call has done; its batches are passed over, its momentum is not known
    """
    muon, adamw = _optimizers(model)
    guide = Guide(model)
    total, step, start = sum(stage.steps for stage in stages), 0, time.time()
    for stage in stages:
        skipped = min(stage.steps, max(0, begin - step))
        step += skipped
        for batch in itertools.islice(stage.batches(), skipped, stage.steps):
            rate = _schedule(step, total) * min(1.0, (step - begin + 1) / WARM_UP)
            for optimizer in (muon, adamw):
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * rate
            said = answers(model, batch, guide)
            loss, aside = said.loss(), guide.losses()
            (loss + GUIDE_WEIGHT * sum(aside.values())).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in (muon, adamw):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 10 == 0 or step == total:
                right = (said.logits.argmax(-1) == said.labels).float().mean().item()
                entry = {"step": step, "stage": stage.name, "loss": round(loss.item(), 4)}
                entry |= {"token_accuracy": round(right, 4), "seconds": round(time.time() - start)}
                entry |= {kind: round(beside.item(), 4) for kind, beside in aside.items()}
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
            if step % SAVE_STEPS == 0 or step == total:
                save()


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
    """Flat, then a cosine to 5 % over the last 40 %."""
    tail = max(0.0, (step / total - 0.6) / 0.4)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * tail))
