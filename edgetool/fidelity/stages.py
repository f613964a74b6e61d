"""Every stage of the way from adapter to file, opened for measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetool.calls.types import Example
from edgetool.errors import ModelError
from edgetool.export.safetensors_io import Floats
from edgetool.export.weights import TrainedWeights
from edgetool.fidelity.reference import Ids, Stage
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.policy import Policy
from edgetool.train.runtime import PolicyRuntime
from edgetool.train.sft import closing_id

if TYPE_CHECKING:
    from edgetool.fidelity.survey import Subject


def policy_stage(
    policy: Policy, name: str, load_seconds: float, folder: Path | None = None
) -> Stage:
    """A torch policy. folder: whose weights count as its size, or a GGUF file."""
    size = _size(folder) if folder else None
    runtime = PolicyRuntime(policy, name="policy")
    return Stage(name, runtime, _torch_logits(policy), policy.context_length, size, load_seconds)


def _size(model: Path) -> int:
    files = [model] if model.is_file() else model.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)


def _torch_logits(policy: Policy) -> Callable[[Ids, Ids], Floats]:
    import torch

    def logits(prompt: Ids, completion: Ids) -> Floats:
        ids = torch.tensor([[*prompt, *completion[:-1]]], device=policy.device)
        with policy.decoding() as network:
            hidden = network.hidden(ids).last_hidden_state[0, len(prompt) - 1 :]
            return network.logits(hidden).cpu().numpy()

    return logits


@contextmanager
def gguf_stage(
    path: Path, name: str, context: int, lora: Path | None = None, **prompting: Any
) -> Iterator[Stage]:
    """A GGUF file in llama.cpp, with room for `context` tokens.

    lora        an adapter's GGUF file, put on it
    prompting   template, call_syntax and thinking, where they are not the file's
    """
    from edgetool.llama.runtime import GGUFRuntime
    from edgetool.llama.session import LlamaSession

    started = time.perf_counter()
    with LlamaSession(
        path, context=context, adapter=str(lora) if lora else None, **prompting
    ) as session:
        seconds = time.perf_counter() - started

        def logits(prompt: Ids, completion: Ids) -> Floats:
            rows = [session.engine.read(prompt).copy()]
            rows += [session.engine.feed({0: [token]})[0].copy() for token in completion[:-1]]
            return np.stack(rows)

        runtime = GGUFRuntime(session, f"gguf:{name}")
        size = path.stat().st_size + (lora.stat().st_size if lora else 0)
        yield Stage(name, runtime, logits, session.limit, size, seconds)


def load_plain(subject: Subject) -> Policy:
    """A model without adapter in float32, whatever the policy computed in: the exported sums are
    made in float32, and half of it would drown what the adapter adds."""
    plain = LoadSettings(
        load_in_4bit=False,
        bf16=False,
        call_syntax=subject.call_syntax,
        template=subject.template,
        thinking=subject.thinking,
    )
    return load_policy(subject.base, None, plain)


def fill(policy: Policy, weights: TrainedWeights) -> None:
    """Put trained weights in the place of a plain policy's, tensor by tensor and nothing on disk.

    Raises ModelError when the policy has no place for one.
    """
    import torch

    places = dict(policy.causal.named_parameters())
    with torch.no_grad():
        for name in weights.tensors:
            if name in places:
                places[name].copy_(torch.from_numpy(weights.read(name)))
            elif weights.adapter and name in weights.adapter.pairs:
                raise ModelError(f"{policy.name}: transformers has no parameter '{name}'")


def gold_ids(policy: Policy, examples: Sequence[Example]) -> list[list[int]]:
    """Token ids of every row's own calls with the stop token behind; [] for a row without."""
    stop = closing_id(policy, calls=True)
    render = policy.prompter.completion_ids
    return [[*render(row.calls), stop] if row.calls else [] for row in examples]
