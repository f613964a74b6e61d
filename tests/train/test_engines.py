"""Rollouts by other engines than torch: real llama.cpp, on the tiny model's own file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetool.calls.syntaxes import Parsed
from edgetool.calls.types import Example
from edgetool.errors import EngineError, ModelError, UsageError
from edgetool.rewards.scoring import WeightedReward
from edgetool.runtime import Sampling
from edgetool.train import grpo_step
from edgetool.train.distributed import Ranks
from edgetool.train.engines import RolloutEngine, Rollouts, TorchEngine, llama, open_engine
from edgetool.train.grpo_step import Stepper
from edgetool.train.load import load_policy
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, completion_seed
from edgetool.train.rows import prepare_rows
from edgetool.train.settings import GRPOSettings, LoraSettings, RolloutSettings
from edgetool.train.update import DriftError
from tests.train.conftest import EXACT, stir

LLAMA = RolloutSettings(engine="llama", gguf_type="F32")
PROMPTS = [[5, 9, 33, 70, 8], [11, 12], [100 + i for i in range(70)]]
WARM = Sampling(max_completion_length=12, temperature=1.0)
SEEDS = [[completion_seed(0, p, g) for g in range(3)] for p in range(3)]
SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=2,
    max_completion_length=8,
    learning_rate=1e-3,
    gradient_checkpointing=False,
)


def no_score(parsed: Parsed, example: Example) -> float:
    return 0.0


ZERO = [WeightedReward("zero", 1.0, no_score)]


@pytest.fixture
def by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards that differ, as a random model never makes a call."""
    real = grpo_step.score

    def scored(text: str, *rest: Any, **options: Any) -> Any:
        found = real(text, *rest, **options)
        return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)

    monkeypatch.setattr(grpo_step, "score", scored)


Opened = Callable[..., RolloutEngine]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    engines: list[RolloutEngine] = []

    def make(
        policy: Policy, settings: RolloutSettings = LLAMA, tokens: int = 128, completions: int = 9
    ) -> RolloutEngine:
        engine = open_engine(policy, settings, Rollouts(tmp_path, tokens, completions))
        engine.load_adapter()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


def written(engine: RolloutEngine, prompts: Any = PROMPTS, seeds: Any = SEEDS) -> Any:
    return engine.write(prompts, WARM, seeds, lambda _: None)


def flat(groups: Any) -> list[RolloutCompletion]:
    return [completion for group in groups for completion in group]


def test_llama_cpp_draws_what_torch_draws(policy: Policy, opened: Opened) -> None:
    ours, theirs = written(TorchEngine(policy)), written(opened(policy))
    for one, other in zip(flat(ours), flat(theirs), strict=True):
        assert (one.token_ids, one.text, one.finished) == (
            other.token_ids,
            other.text,
            other.finished,
        )
        assert torch.allclose(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=2e-3)


def test_the_adapter_of_each_step_is_used(policy: Policy, opened: Opened) -> None:
    engine = opened(policy)
    before = written(engine)
    stir(policy, scale=0.2)
    engine.load_adapter()
    after = written(engine)
    assert after != before
    for one, other in zip(flat(written(TorchEngine(policy))), flat(after), strict=True):
        assert one.token_ids == other.token_ids


def test_completions_beyond_the_sequences_wait_for_a_free_one(
    policy: Policy, opened: Opened
) -> None:
    policy.stop_ids = tuple(range(0, 500, 2))  # so that they end at different lengths
    together, few = opened(policy), opened(policy, completions=2)
    for one, other in zip(flat(written(together)), flat(written(few)), strict=True):
        assert one.token_ids == other.token_ids
        assert one.finished == other.finished
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_file_made_for_an_engine_goes_with_it(policy: Policy, tmp_path: Path) -> None:
    engine = open_engine(policy, LLAMA, Rollouts(tmp_path, 128, 4))
    assert [path.name for path in tmp_path.iterdir()] == [llama.BASE]
    engine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_is_a_file_is_opened_as_it_is(gguf: Path, tmp_path: Path) -> None:
    policy = load_policy(gguf, LoraSettings(r=4), EXACT)
    stir(policy, scale=0.2)
    engine = open_engine(policy, LLAMA, Rollouts(tmp_path, 128, 9))
    assert list(tmp_path.iterdir()) == []
    assert engine.about.startswith("llama.cpp writes the completions, 9 at a time, with model.F16")
    engine.load_adapter()
    for one, other in zip(flat(written(TorchEngine(policy))), flat(written(engine)), strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-3)
    engine.close()
    assert gguf.exists()


def test_a_file_of_another_base_is_refused(policy: Policy, nano_gguf: Path, tmp_path: Path) -> None:
    settings = RolloutSettings(engine="llama", gguf=str(nano_gguf))
    with pytest.raises(ModelError, match=r"rollout.gguf = .*tokens and .* has \d+; name the file"):
        open_engine(policy, settings, Rollouts(tmp_path, 128, 4))


def test_several_processes_need_torch(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 train together; set"):
        open_engine(policy, LLAMA, Rollouts(tmp_path, 128, 4), Ranks(size=2))


def test_an_adapter_that_llama_cpp_refuses_leaves_the_one_before(
    policy: Policy, opened: Opened, tmp_path: Path
) -> None:
    engine = opened(policy)
    before = written(engine)
    assert isinstance(engine, llama.LlamaEngine)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    with pytest.raises(EngineError, match="does not take the adapter"):
        engine.engine.use_adapter(tmp_path / "bad.gguf")
    assert written(engine) == before


def stepped(
    policy: Policy, examples: list[Example], engine: RolloutEngine, **changes: Any
) -> tuple[Stepper, list[str]]:
    settings = dataclasses.replace(SETTINGS, **changes)
    rows, notes = prepare_rows(policy, examples, settings).rows, list[str]()
    return Stepper(policy, rows, ZERO, settings, notes.append, engine=engine), notes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_costs_a_step_its_engine_and_says_so(
    policy: Policy, examples: list[Example], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper, notes = stepped(policy, examples, opened(policy, tokens=512))
    expected = stepped(policy, examples, TorchEngine(policy))[0]._sample(0).written

    @contextmanager
    def full(_: Path) -> Iterator[Path]:
        yield Path("/dev/full")

    with monkeypatch.context() as patch:
        patch.setattr(llama, "memory_file", full)
        assert stepper._sample(0).written == expected
    assert notes == [
        "step 1: torch writes the completions, as the adapter could not be written for the engine "
        "'llama' (No space left on device)"
    ]
    stepper._sample(1)
    assert len(notes) == 1


@pytest.mark.usefixtures("by_text")
def test_the_loss_is_weighed_by_how_far_the_engine_is_from_the_trainer(
    policy: Policy, examples: list[Example], opened: Opened
) -> None:
    metrics = stepped(policy, examples, opened(policy, tokens=512))[0].run(0).metrics
    assert 0 < metrics["sampling/kl"] < 1e-4
    ratio = metrics["sampling/importance_sampling_ratio/mean"]
    assert ratio != 1 and ratio == pytest.approx(1, abs=0.01)


@pytest.mark.usefixtures("by_text")
def test_an_engine_with_another_adapter_stops_the_run_before_it_learns(
    policy: Policy, examples: list[Example], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(policy, tokens=512)
    monkeypatch.setattr(engine, "load_adapter", lambda: None)
    stir(policy, scale=3.0)
    before = {name: matrix.detach().clone() for name, matrix in policy.trainable().items()}
    stepper, _ = stepped(policy, examples, engine, max_sampling_kl=0.02)
    with pytest.raises(DriftError, match=r"nats a token away .*max_sampling_kl is 0.02: another"):
        stepper.run(0)
    assert all(torch.equal(before[name], m) for name, m in policy.trainable().items())
    assert stepper.begun is None


@pytest.mark.usefixtures("by_text")
def test_a_run_may_go_on_with_another_engine(
    make_policy: Callable[..., Policy], examples: list[Example], tmp_path: Path
) -> None:
    def run(steps: int, **options: Any) -> Any:
        settings = dataclasses.replace(SETTINGS, max_steps=steps)
        return train(make_policy(EXACT), examples, ZERO, settings, tmp_path / "run", **options)

    def by_llama(policy: Policy, tokens: int, completions: int) -> RolloutEngine:
        return open_engine(policy, LLAMA, Rollouts(tmp_path / "run", tokens, completions))

    assert run(1, open_engine=by_llama).steps == 1
    assert run(2, resume=True).steps == 2
    assert not (tmp_path / "run" / llama.BASE).exists()
    assert (tmp_path / "run" / "adapter").is_dir()
