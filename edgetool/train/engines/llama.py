"""Rollouts in llama.cpp: the base as a GGUF file, the adapter of the step beside it.

Prompts are read once a group and their keys and values copied. Completions of all groups are
written side by side; where one ends, the next begins. Tokens are drawn as in torch.

llama.cpp runs in this process, and both use the same threads in turn: libgomp is one library to
both, and llama.cpp's own threads end with each of its passes.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgetool.errors import ModelError
from edgetool.export.adapter_gguf import AdapterLayout
from edgetool.export.export import export_base
from edgetool.export.weights import TrainedWeights
from edgetool.gguf_header import is_gguf
from edgetool.llama.engine import Engine
from edgetool.llama.memory import footprint, readable
from edgetool.runtime import Sampling
from edgetool.train.engines import OnToken, Rollouts
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, noise_of
from edgetool.train.sampling import choose
from edgetool.train.settings import LLAMA, RolloutSettings

BASE, ADAPTER = "rollout.gguf", "rollout-adapter.gguf"  # in the run's folder, while it runs
# More completions side by side take memory and, on a CPU, no less time a token.
MAX_SEQUENCES = 32

Floats = NDArray[np.float32]


class LlamaEngine:
    """llama.cpp with the policy's base.

    exported   the base's file where it was made for this engine, which removes it in the end
    """

    name, exact = LLAMA, False

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        layout: AdapterLayout,
        folder: Path,
        exported: Path | None = None,
    ) -> None:
        self.policy, self.engine, self.layout = policy, engine, layout
        self._folder, self._exported = folder, exported
        needed = footprint(engine.path).needed(engine.context, engine.sequences)
        self.about = (
            f"llama.cpp writes the completions, {engine.sequences} at a time, with "
            f"{engine.path.name}; it takes about {readable(needed)} beside the policy"
        )

    @classmethod
    def open(cls, policy: Policy, settings: RolloutSettings, rollouts: Rollouts) -> LlamaEngine:
        """Load `settings.gguf`; without one, the policy's base, or a file made of it.

        Raises ModelError for a file that is no GGUF or of another base.
        """
        base, exported = Path(policy.name), None
        if settings.gguf or is_gguf(base):
            path = Path(settings.gguf or base)
            layout = AdapterLayout.of(
                TrainedWeights.open(base, None, "base"), template=rollouts.template
            )
        else:
            path = exported = rollouts.folder / BASE
            dtype = str(policy.causal.dtype).removeprefix("torch.")
            layout = export_base(
                base,
                path,
                settings.gguf_type or ("BF16" if dtype == "bfloat16" else "F16"),
                merge_into="nf4" if rollouts.load_in_4bit else "base",
                policy_dtype=dtype,
                template=rollouts.template,
            )
        threads = settings.threads or torch.get_num_threads()
        engine = Engine(path, rollouts.tokens, threads, min(rollouts.completions, MAX_SEQUENCES))
        opened = cls(policy, engine, layout, rollouts.folder, exported)
        opened._require_fit(path, rollouts.tokens)
        return opened

    def _require_fit(self, path: Path, tokens: int) -> None:
        entries, own = self.engine.llama.n_vocab(), self.policy.causal.config.vocab_size
        if entries != own:
            raise ModelError(
                f"rollout.gguf = {path}: it has {entries} tokens and {self.policy.name} has {own}; "
                "name the file of this base, or leave rollout.gguf out"
            )
        if self.engine.context < tokens:
            raise ModelError(
                f"rollout.gguf = {path}: it was trained on {self.engine.context} tokens, the "
                f"longest prompt and completion take {tokens}; lower grpo.max_prompt_length"
            )

    def load_adapter(self) -> None:
        matrices, alpha = matrices_of(self.policy)
        with memory_file(self._folder / ADAPTER) as path:
            self.layout.write(path, matrices, alpha)
            self.engine.use_adapter(path)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_token: OnToken,
    ) -> list[list[RolloutCompletion]]:
        return _Batch(self, prompts, sampling, seeds).run(on_token)

    def close(self) -> None:
        self.engine.close()
        if self._exported:
            self._exported.unlink(missing_ok=True)


class _Batch:
    """N completions on their way; `live` says which of them a sequence of the engine holds."""

    def __init__(
        self,
        engine: LlamaEngine,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
    ) -> None:
        self.policy, self.engine, self.sampling = engine.policy, engine.engine, sampling
        self.prompts, self.size = prompts, len(seeds[0])
        self.noise = noise_of(seeds, sampling)  # [N, C]
        total = len(self.noise)
        self.tokens: list[list[int]] = [[] for _ in range(total)]
        self.logprobs: list[list[float]] = [[] for _ in range(total)]
        self.waiting, self.live = deque(range(total)), dict[int, int]()
        self.free = list(range(self.engine.sequences))
        self.first_at = 0.0

    def run(self, on_token: OnToken) -> list[list[RolloutCompletion]]:
        written = 0
        while self.waiting or self.live:
            rows = self._go_on()  # before the prompts, whose reading would overwrite them
            rows |= self._begin()
            written += len(rows)
            self._take(rows)
            on_token(-(-written // len(self.tokens)))
        return self._completions()

    def _go_on(self) -> dict[int, Floats]:
        """Logits [V] behind the last token of each live sequence."""
        order = sorted(self.live)
        if not order:
            return {}
        rows = self.engine.feed({slot: self.tokens[self.live[slot]][-1:] for slot in order})
        return dict(zip(order, np.stack(rows), strict=True))

    def _begin(self) -> dict[int, Floats]:
        """Logits [V] behind the prompts of completions that find a free sequence."""
        rows: dict[int, Floats] = {}
        before: int | None = None
        while self.waiting and self.free:
            number, slot = self.waiting.popleft(), self.free.pop()
            if before is not None and self.live[before] // self.size == number // self.size:
                self.engine.copy(before, slot)
                rows[slot] = rows[before]
            else:
                rows[slot] = self.engine.read(self.prompts[number // self.size], slot).copy()
            self.live[slot] = number
            before = slot
        return rows

    def _take(self, rows: Mapping[int, Floats]) -> None:
        """Choose a token for each sequence; those that end leave."""
        owners = [self.live[slot] for slot in rows]
        places = [len(self.tokens[owner]) for owner in owners]
        logits = torch.from_numpy(np.stack(list(rows.values())))  # [S, V]
        chosen, logprobs = choose(logits, self.sampling, self.noise[owners, places])
        self.first_at = self.first_at or time.perf_counter()
        for slot, owner, token, logprob in zip(
            rows, owners, chosen.tolist(), logprobs.tolist(), strict=True
        ):
            self.tokens[owner].append(token)
            self.logprobs[owner].append(logprob)
            length = len(self.tokens[owner])
            if token in self.policy.stop_ids or length == self.sampling.max_completion_length:
                del self.live[slot]
                self.free.append(slot)

    def _completions(self) -> list[list[RolloutCompletion]]:
        texts = self.policy.decode(self.tokens)
        flat = [
            RolloutCompletion(
                tuple(ids), text, ids[-1] in self.policy.stop_ids, tuple(logprobs), self.first_at
            )
            for ids, text, logprobs in zip(self.tokens, texts, self.logprobs, strict=True)
        ]
        return [flat[start : start + self.size] for start in range(0, len(flat), self.size)]


def matrices_of(policy: Policy) -> tuple[dict[str, tuple[Floats, Floats]], float]:
    """A [r, in] and B [out, r] of the adapter by the tensor they change, and llama.cpp's alpha."""
    from peft.tuners.lora import LoraLayer

    layers: list[tuple[str, Any]] = [
        (name, layer)
        for name, layer in policy.causal.named_modules()
        if isinstance(layer, LoraLayer)
    ]
    matrices = {
        f"{name}.weight": (_floats(layer.lora_A), _floats(layer.lora_B)) for name, layer in layers
    }
    _, first = layers[0]
    return matrices, first.scaling["default"] * first.r["default"]


def _floats(half: Any) -> Floats:
    values: Floats = half["default"].weight.detach().float().cpu().numpy()
    return values


@contextmanager
def memory_file(otherwise: Path) -> Iterator[Path]:
    """A path to write to that is gone afterwards: in memory on Linux, else `otherwise`."""
    if not hasattr(os, "memfd_create"):
        try:
            yield otherwise
        finally:
            otherwise.unlink(missing_ok=True)
        return
    handle = os.memfd_create(otherwise.name)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
