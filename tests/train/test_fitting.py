"""Out of memory in the training pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgetool.errors import EdgetoolError
from edgetool.train.oom import MicroBatchSplitter, halve, out_of_memory
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings
from edgetool.train.update import Batch, Update

ONE = Group([5, 6, 7], [[8, 9], [10, 11, 12, 13], [14, 15, 16]], [0, 1, 2])  # 3 + 1 + 3 + 2 tokens
TWO = Group([30, 31], [[40, 44], [41, 42, 43]], [3, 4])  # 2 + 1 + 2 tokens


def owners(parts: list[list[Group]]) -> list[list[int]]:
    return [[owner for group in part for owner in group.owners] for part in parts]


def fitted(
    groups: list[Group], capacity: int, splitter: MicroBatchSplitter | None = None
) -> list[list[Group]]:
    """The parts that were done on a device that holds so many padded tokens."""
    done: list[list[Group]] = []

    def work(part: list[Group]) -> None:
        if len(part) * max(map(len, part)) > capacity:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        done.append(part)

    (splitter or MicroBatchSplitter()).fit(groups, work)
    return done


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        (18, [[0, 1, 2, 3, 4]]),  # two rows of nine
        (17, [[0, 1, 2], [3, 4]]),
        (8, [[0], [1, 2], [3, 4]]),  # three completions are halved into one and two
        (7, [[0], [1], [2], [3, 4]]),
        (6, [[0], [1], [2], [3, 4]]),
    ],
)
def test_what_does_not_fit_is_halved_until_it_does(
    capacity: int, expected: list[list[int]]
) -> None:
    assert owners(fitted([ONE, TWO], capacity)) == expected


def test_a_completion_that_does_not_fit_alone_ends_the_run_and_says_what_to_lower() -> None:
    with pytest.raises(EdgetoolError, match="one completion and its prompt, 6 tokens"):
        fitted([ONE], 5)


def test_what_failed_once_is_not_tried_again_and_said_once() -> None:
    notes: list[str] = []
    splitter = MicroBatchSplitter(notes.append)
    fitted([ONE, TWO], 17, splitter)
    tried = []
    splitter.fit([ONE, TWO], tried.append)
    assert owners(tried) == [[0, 1, 2], [3, 4]]
    fitted([ONE], 8, splitter)
    assert len(notes) == 1
    assert "grpo.packed_tokens: 9 " in notes[0]


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def work(_: list[Group]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatchSplitter().fit([ONE], work)


def test_one_completion_has_no_halves() -> None:
    assert halve([Group([1], [[2, 3]], [0])]) is None


def test_torch_s_own_refusal_on_a_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60)
    assert out_of_memory(refused.value)


def test_the_gradient_is_the_same_in_halves(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, advantages = torch.full((5,), 0.1), torch.tensor([1.0, -1.0, 0.5, 2.0, -2.0])
    batch, settings = Batch([ONE, TWO], weights, advantages), GRPOSettings(max_grad_norm=1e9)

    def gradient(capacity: int) -> torch.Tensor:
        matrices = list(policy.trainable().values())
        update = Update(policy, batch, settings, torch.optim.SGD(matrices, lr=1.0))
        found: list[torch.Tensor] = []
        monkeypatch.setattr(
            update, "_apply", lambda: found.extend(p.grad.flatten() for p in matrices)
        )
        real = policy.causal.base_model.forward

        def limited(input_ids: torch.Tensor, **options: object) -> object:
            out = real(input_ids, **options)
            if input_ids.numel() > capacity:  # after the work, where memory runs out
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return out

        with monkeypatch.context() as patch:
            patch.setattr(policy.causal.base_model, "forward", limited)
            update.iterate()
        return torch.cat(found)

    whole, halves = gradient(1000), gradient(6)
    assert float((whole - halves).norm() / whole.norm()) < 1e-6


LIMITED = """
import resource, sys
import torch
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.packing import Group
from edgetool.train.settings import GRPOSettings, LoraSettings
from edgetool.train.update import Batch, Update, make_optimizer

torch.set_num_threads(1)
policy = load_policy(sys.argv[1], LoraSettings(r=4), LoadSettings(bf16=False, device="cpu"))
groups = [Group([i] * 200, [[i] * 50] * 8, range(8 * i, 8 * i + 8)) for i in range(12)]
settings, notes = GRPOSettings(packed_tokens=10**6), []
batch = Batch(groups, torch.full((96,), 1e-3), torch.randn(96))
update = Update(policy, batch, settings, make_optimizer(policy, settings))
update.splitter.on_note = notes.append
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 100 * 2**20,) * 2)
update.run()
print(len(notes), update.state.metrics.tokens, update.state.metrics.not_finite)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space as Linux does")
def test_a_process_that_really_runs_out_of_memory_finishes_its_step(tiny_model: Path) -> None:
    # 12 rows of 592 tokens in one pass, and 100 MiB for them; 96 completions of 50 tokens
    command = [sys.executable, "-c", LIMITED, str(tiny_model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["1", "4800", "0"], done.stderr
