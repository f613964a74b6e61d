"""Two processes over gloo, started as a user starts them, against one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgetool.train.distributed import ALONE, Ranks

# Without an argument: one process. The settings need two micro-batches and clip in iteration two.
STEP = """
import dataclasses
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from edgetool.calls.types import Example
from edgetool.rewards import scoring
from edgetool.train import grpo_step
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.distributed import joined
from edgetool.train.rows import Row
from edgetool.train.settings import GRPOSettings, LoraSettings

torch.set_num_threads(1)
model, out = sys.argv[1:]
load = LoadSettings(bf16=False, device="cpu", gradient_checkpointing=False)
policy = load_policy(model, LoraSettings(r=4), load)
generator = torch.Generator().manual_seed(7)
with torch.no_grad():
    for name, matrix in policy.trainable().items():
        if "lora_B" in name:
            matrix.copy_(torch.randn(matrix.shape, generator=generator) * 0.02)
rows = [Row(Example(str(i), (), (), ()), tuple(range(5, 8 + i))) for i in range(5)]
settings = GRPOSettings(
    num_generations=4, prompts_per_step=3, num_iterations=2, beta=0.1, max_completion_length=6,
    packed_tokens=1, max_grad_norm=1e9, loss_type="dapo", dynamic_sampling=1,
)
real, nothing = grpo_step.score, scoring.WeightedReward("none", 1.0, lambda parsed, row: 0.0)
def by_text(text, *rest, **options):  # a random model never makes a call
    found = real(text, *rest, **options)
    return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)
grpo_step.score = by_text
with joined() as ranks:
    stepper = grpo_step.Stepper(policy, rows, [nothing], settings, ranks=ranks)
    stepper.optimizer = torch.optim.SGD(policy.trainable().values(), lr=1e-5)
    report = stepper.run(0)
    if ranks.first:
        kept = ("loss", "grad_norm", "reward", "entropy", "kl", "num_tokens", "clip_ratio")
        metrics = torch.tensor([report.metrics[name] for name in kept], dtype=torch.float64)
        save_file({"metrics": metrics, **policy.trainable()}, out)
    weights = [p.detach().double().sum().item() for p in policy.trainable().values()]
    assert len({tuple(found) for found in ranks.gather(weights)}) == 1  # the adapters stay equal
"""


def torchrun(*arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_torchrun_trains_and_the_first_rank_writes(tiny_model: Path, tmp_path: Path) -> None:
    grpo = {"max_steps": 2, "num_generations": 2, "prompts_per_step": 3, "max_completion_length": 4}
    values = {
        "model": str(tiny_model),
        "output_dir": "run",
        "data": {"train_rows": 8},
        "grpo": {**grpo, "gradient_checkpointing": False},
    }
    (tmp_path / "my.yaml").write_text(json.dumps(values), encoding="utf-8")
    torchrun("-m", "edgetool", "train", "--config", "my.yaml", cwd=tmp_path)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


SFT_STEP = """
import sys
import torch
from safetensors.torch import save_file
from edgetool.calls.types import Example
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.distributed import joined
from edgetool.train.settings import LoraSettings, SFTSettings
from edgetool.train.sft import SFTStepper
from edgetool.train.sft import SupervisedRow

torch.set_num_threads(1)
model, out = sys.argv[1:]
load = LoadSettings(bf16=False, device="cpu", gradient_checkpointing=False)
policy = load_policy(model, LoraSettings(r=4), load)
rows = [
    SupervisedRow(Example(str(i), (), (), ()), tuple(range(5, 8 + i)), tuple(range(9, 10 + i * i)))
    for i in range(4)
]
with joined() as ranks:
    settings = SFTSettings(per_device_train_batch_size=4 // ranks.size, max_grad_norm=1e9)
    stepper = SFTStepper(policy, rows, settings, ranks=ranks)
    stepper.optimizer = torch.optim.SGD(policy.trainable().values(), lr=1e-5)
    report = stepper.run(0)
    if ranks.first:
        kept = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")
        metrics = torch.tensor([report.metrics[name] for name in kept], dtype=torch.float64)
        save_file({"metrics": metrics, **policy.trainable()}, out)
"""


@pytest.mark.parametrize("code", [STEP, SFT_STEP], ids=["grpo", "sft"])
@pytest.mark.slow
def test_two_processes_make_the_step_of_one(code: str, tiny_model: Path, tmp_path: Path) -> None:
    script = tmp_path / "one_step.py"
    script.write_text(code, encoding="utf-8")
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    subprocess.run([sys.executable, script, tiny_model, one], check=True, cwd=Path.cwd())
    torchrun(str(script), str(tiny_model), str(two), cwd=Path.cwd())
    alone, together = load_file(one), load_file(two)
    assert torch.allclose(alone.pop("metrics"), together.pop("metrics"), rtol=1e-5, atol=1e-9)
    assert alone.keys() == together.keys()
    for name, matrix in alone.items():
        assert torch.allclose(matrix, together[name], rtol=1e-5, atol=1e-8), name


def test_rows_are_dealt_out_one_at_a_time() -> None:
    assert [list(Ranks(rank, 2).share(range(5))) for rank in (0, 1)] == [[0, 2, 4], [1, 3]]


def test_a_process_alone_sends_nothing() -> None:
    tensor = torch.ones(2)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.gather({"a": 1}) == [{"a": 1}]
    assert ALONE.any(True) and not ALONE.any(False)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_was_dealt_comes_back_in_its_order(size: int) -> None:
    from edgetool.calls.types import Example
    from edgetool.train.rollout_batch import RolloutBatch
    from edgetool.train.rows import Row

    rows = [Row(Example(str(i), (), (), ()), (i,)) for i in range(5)]
    parts = [
        RolloutBatch.of(dealt, [[] for _ in dealt], [[] for _ in dealt])
        for dealt in (Ranks(rank, size).share(rows) for rank in range(size))
    ]
    whole = RolloutBatch.dealt(parts)
    assert [row.prompt for row in whole.rows] == [(0,), (1,), (2,), (3,), (4,)]
    assert whole.tokens == 5
