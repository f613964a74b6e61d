"""Writing completions: G for each of B prompts, all of them decoded together.

A prompt is prefilled once and its keys and values are shared by its group (see attention.py).
Completions of all prompts are at the same token number at any time, so lengths of prompts may
differ without any padding between prompt and completion. Finished completions leave the batch once
enough of them have.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from edgetool.runtime import Constraint, Sampling
from edgetool.train.attention import GroupCache
from edgetool.train.cuda_graph import DecodeStep, cache_type
from edgetool.train.policy import Network, Policy
from edgetool.train.sampling import choose

# Sequences decoded at once; more would only grow the KV cache, as compute is the limit by then.
MAX_SEQUENCES = 256
PREFILL_TOKENS = 16384
# Moving the survivors together costs a copy of the cache, so it must free this share of the slots.
WORTH_MOVING = 0.25
# The same where a move also costs recording the step anew; not measured on a GPU.
WORTH_RECORDING = 0.5


@dataclass(frozen=True)
class RolloutCompletion:
    """One completion.

    token_ids   [C] as sampled, the stop token included when it came; C >= 1
    text        decoded without the stop token
    finished    ended by a stop token, not by max_completion_length
    logprobs    [C] natural log-probabilities under softmax(logits / temperature), before top_k and
                top_p, over what the constraint allows; temperature 1 when greedy
    first_at    time.perf_counter() when the first tokens of its batch were chosen
    """

    token_ids: tuple[int, ...]
    text: str
    finished: bool
    logprobs: tuple[float, ...]
    first_at: float = field(default=0.0, compare=False)


def completion_seed(*parts: int | str) -> int:
    """A 63-bit seed out of (run seed, step, prompt, completion), the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def rollout(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[Sequence[int]],
    constraints: Sequence[Constraint] | None = None,
    on_token: Callable[[int], None] = lambda _: None,
) -> list[list[RolloutCompletion]]:
    """Write completions of B prompts, G each.

    seeds         [B][G], one generator's seed per completion, so that what a completion draws does
                  not depend on what else is in the batch
    constraints   [B], only with G = 1
    on_token      told the number, from 1, of the token that all completions have just got

    Returns [B][G]. Raises ValueError for empty prompts or groups of unequal size.
    """
    group_size = _check(prompts, seeds, constraints)
    per_batch = max(1, MAX_SEQUENCES // group_size)
    results: list[list[RolloutCompletion]] = []
    with policy.decoding() as network:
        for start in range(0, len(prompts), per_batch):
            part = slice(start, start + per_batch)
            held = None if constraints is None else constraints[part]
            batch = _Batch(policy, network, prompts[part], seeds[part], sampling, held)
            results += batch.run(on_token)
    return results


def _check(
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    constraints: Sequence[Constraint] | None,
) -> int:
    sizes = {len(group) for group in seeds}
    if len(seeds) != len(prompts) or len(sizes) > 1:
        raise ValueError("expected the same number of seeds for each prompt")
    if not all(prompts):
        raise ValueError("a prompt has no tokens")
    size = sizes.pop() if sizes else 1
    if constraints is not None and (size != 1 or len(constraints) != len(prompts)):
        raise ValueError("constraints need one completion and one constraint per prompt")
    return size


class _Batch:
    """B prompts on their way. Slot s of S = B' * G' holds completion `occupant[s]` of N = B * G."""

    def __init__(
        self,
        policy: Policy,
        network: Network,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        constraints: Sequence[Constraint] | None,
    ) -> None:
        self.policy, self.network, self.sampling = policy, network, sampling
        self.constraints, self.device = constraints, policy.device
        self.group_size = len(seeds[0])
        total = len(prompts) * self.group_size
        shape = (total, sampling.max_completion_length)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=self.device)  # [N, C]
        self.logprobs = torch.zeros(shape, device=self.device)  # [N, C]
        self.lengths = torch.zeros(total, dtype=torch.long, device=self.device)
        self.finished = torch.zeros(total, dtype=torch.bool, device=self.device)
        self.noise = noise_of(seeds, sampling).to(self.device)  # [N, C]
        self.stop = torch.tensor(policy.stop_ids, device=self.device)
        self.first_at = 0.0
        self.occupant = torch.arange(total, device=self.device)
        self.prompt_lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        cache, hidden = prefill(network, prompts, self.group_size, self.device)
        self.step = DecodeStep(policy, network, cache)
        self.logits = network.logits(hidden).repeat_interleave(self.group_size, dim=0)  # [S, V]

    def run(self, on_token: Callable[[int], None]) -> list[list[RolloutCompletion]]:
        for position in range(self.sampling.max_completion_length):
            live = self._take(position)
            on_token(position + 1)
            going = bool(live.any())  # waits for the device, too
            if position == 0:
                self.first_at = time.perf_counter()
            if not going or position + 1 == self.sampling.max_completion_length:
                break
            self._leave(live)
            self._forward(position)
        return self._written()

    def _take(self, position: int) -> Tensor:
        """Choose a token for each slot, write down the live ones' and say who goes on: bool [S]."""
        live = ~self.finished[self.occupant]
        self._constrain(live)
        chosen, logprobs = choose(self.logits, self.sampling, self.noise[self.occupant, position])
        self._advance(chosen, live, self.sampling.max_completion_length - position - 1)
        who = self.occupant[live]
        self.tokens[who, position] = chosen[live]
        self.logprobs[who, position] = logprobs[live]
        self.lengths[who] += 1
        self.finished[who] = torch.isin(chosen[live], self.stop)
        return ~self.finished[self.occupant]

    def _constrain(self, live: Tensor) -> None:
        if self.constraints is None:
            return
        rows = self.logits.cpu().numpy()
        for slot in live.nonzero().flatten().tolist():
            rows[slot] = self.constraints[int(self.occupant[slot])].mask(rows[slot])
        self.logits = torch.from_numpy(rows).to(self.device)

    def _advance(self, chosen: Tensor, live: Tensor, left: int) -> None:
        """Tell the constraints what was chosen [S]; where one has to end, write what it says."""
        if self.constraints is None:
            return
        for slot in live.nonzero().flatten().tolist():
            constraint = self.constraints[int(self.occupant[slot])]
            chosen[slot] = constraint.advance(int(chosen[slot]), left)

    def _leave(self, live: Tensor) -> None:
        """Move the survivors together when that frees enough slots.

        Groups keep equal size: the largest one's, others are filled up with finished slots.
        """
        cache = self.step.cache
        by_group = live.view(-1, cache.group_size)
        groups = by_group.any(dim=1).nonzero().flatten()
        size = int(by_group.sum(dim=1).max())
        worth = WORTH_RECORDING if self.step.recorded else WORTH_MOVING
        if len(groups) * size > (1 - worth) * len(live):
            return
        members = by_group[groups].int().argsort(dim=1, descending=True, stable=True)[:, :size]
        slots = groups[:, None] * cache.group_size + members
        self.step = DecodeStep(self.policy, self.network, cache.select(groups, members))
        self.occupant = self.occupant[slots.flatten()]

    def _forward(self, position: int) -> None:
        """Feed each slot its last token and compute its next logits."""
        ids = self.tokens[self.occupant, position][:, None]  # [S, 1]
        prompt_lengths = self.prompt_lengths[self.occupant // self.group_size]
        self.logits = self.step(ids, (prompt_lengths + position)[:, None])

    def _written(self) -> list[list[RolloutCompletion]]:
        lengths, finished = self.lengths.tolist(), self.finished.tolist()
        ids = [row[:n] for row, n in zip(self.tokens.tolist(), lengths, strict=True)]
        logprobs = [row[:n] for row, n in zip(self.logprobs.tolist(), lengths, strict=True)]
        texts = self.policy.decode(ids)
        flat = [
            RolloutCompletion(tuple(i), text, done, tuple(p), self.first_at)
            for i, text, done, p in zip(ids, texts, finished, logprobs, strict=True)
        ]
        size = self.group_size
        return [flat[start : start + size] for start in range(0, len(flat), size)]


def noise_of(seeds: Sequence[Sequence[int]], sampling: Sampling) -> Tensor:
    """Uniform draws in [0, 1) for each completion from its own generator: [N, C]."""
    flat = [seed for group in seeds for seed in group]
    noise = torch.zeros(len(flat), sampling.max_completion_length)
    if sampling.temperature > 0:
        generator = torch.Generator()
        for row, seed in enumerate(flat):
            generator.manual_seed(seed)
            noise[row].uniform_(generator=generator)
    return noise


def prefill(
    network: Network, prompts: Sequence[Sequence[int]], group_size: int, device: torch.device
) -> tuple[GroupCache, Tensor]:
    """Read B prompts of different length, each once.

    Returns the cache and the hidden state [B, H] behind each prompt's last token. Padding stands on
    the right, where causal attention cannot see it; decoding hides it with a bias.
    """
    from transformers import DynamicCache

    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    parts = max(1, PREFILL_TOKENS // width)
    keys: list[list[Tensor]] = []
    values: list[list[Tensor]] = []
    hidden: list[Tensor] = []
    for rows, ends in zip(ids.split(parts), lengths.split(parts), strict=True):
        # Not told of the model's windows, it keeps what stands before them: padding moves them.
        kept: Any = DynamicCache()
        out = network.hidden(rows.to(device), cache=kept)
        keys.append([layer.keys for layer in kept.layers])
        values.append([layer.values for layer in kept.layers])
        hidden.append(out.last_hidden_state[torch.arange(len(rows)), ends.to(device) - 1])
    distance = lengths[:, None] - torch.arange(width)
    per_layer = [torch.cat(layer) for layer in zip(*keys, strict=True)]
    values_per_layer = [torch.cat(layer) for layer in zip(*values, strict=True)]
    distances = distance[:, None, None].to(device)
    cache = cache_type(device)(per_layer, values_per_layer, distances, group_size)
    return cache, torch.cat(hidden)
