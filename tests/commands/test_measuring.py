"""The same rows through two engines, measured on nano itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.export.export import Judgement, export_gguf
from edgetool.export.weights import TrainedWeights
from edgetool.fidelity import stages
from edgetool.fidelity.merge_choice import choose
from edgetool.fidelity.reference import Reference, Stage, StageResult
from edgetool.fidelity.survey import HeldOut, Subject, Survey
from edgetool.runtime import Sampling
from edgetool.train.policy import Policy
from tests.commands.conftest import NANO, Said

SAMPLING = Sampling(max_completion_length=48)


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return stages.load_plain(Subject(NANO, None, None, "base"))


@pytest.fixture(scope="module")
def stage(policy: Policy) -> Stage:
    return stages.policy_stage(policy, "model", 0.5, NANO)


@pytest.fixture(scope="module")
def reference(policy: Policy, stage: Stage, rows: Sequence[Example]) -> Reference:
    return Reference.of(stage, rows, stages.gold_ids(policy, rows), SAMPLING)


def test_the_yardstick_measured_by_itself_differs_in_nothing(
    reference: Reference, stage: Stage
) -> None:
    again = reference.measure(stage)
    assert (again.lost, again.gained, again.call_agreement, again.prompt_parity) == (0, 0, 1, 1)
    assert again.exact == reference.result.exact
    assert again.perplexity == reference.result.perplexity
    assert again.kl_mean is not None and again.kl_mean < 1e-9
    assert again.kl_tokens > 8 and reference.result.kl_mean is None


def test_rows_with_other_prompts_are_named(policy: Policy, reference: Reference) -> None:
    """The same model, shown another system message."""
    prompter = policy.prompter
    other = replace(prompter, template="{{ '<|im_start|>user\n?' }}" + prompter.template)
    found = reference.measure(
        stages.policy_stage(replace(policy, prompter=other), "other", 0.0)
    )  # fmt: skip
    assert found.prompt_parity == 0.0
    assert found.other_prompts == tuple(row.id for row in reference.examples[:5])


def test_perplexity_is_transformers_own_loss_on_the_calls(
    policy: Policy, reference: Reference, rows: Sequence[Example]
) -> None:
    total, count = 0.0, 0
    for row, gold in zip(rows, reference.gold, strict=True):
        if not gold:
            continue
        prompt = policy.prompter.ids(row.messages, row.tools)
        labels = torch.tensor([[-100] * len(prompt) + list(gold)])
        ids = torch.tensor([[*prompt, *gold]])
        with torch.no_grad():
            total += float(policy.causal(ids, labels=labels).loss) * len(gold)
        count += len(gold)
    assert count > 20
    assert reference.result.perplexity == pytest.approx(math.exp(total / count), rel=1e-4)


def test_gold_is_the_rows_calls_with_a_stop_token_behind(
    policy: Policy, reference: Reference, rows: Sequence[Example]
) -> None:
    for row, gold in zip(rows, reference.gold, strict=True):
        assert bool(gold) == bool(row.calls)
        if gold:
            assert policy.decode([gold[:-1]]) == [policy.prompter.syntax.render(row.calls)]
            assert gold[-1] in policy.stop_ids


def test_the_f16_file_sees_the_same_prompts_and_says_nearly_the_same(
    reference: Reference, tmp_path: Path
) -> None:
    (file,) = export_gguf(NANO, None, tmp_path, ["F16"])
    with stages.gguf_stage(file.path, "F16", reference.context) as stage:
        found = reference.measure(stage)
    assert found.prompt_parity == 1.0 and found.call_agreement == 1.0
    assert found.kl_mean is not None and 0 < found.kl_mean < 1e-4  # measured 7e-7
    assert found.size == file.size and found.load_seconds > 0
    assert found.perplexity == pytest.approx(reference.result.perplexity, rel=1e-3)


@pytest.mark.slow
def test_only_as_many_rows_are_compared_token_by_token_as_memory_holds(
    policy: Policy, stage: Stage, rows: Sequence[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 70 * 640 * 4  # 70 tokens of 640 words
    monkeypatch.setattr("edgetool.fidelity.reference.REFERENCE_BYTES", limit)
    short = Reference.of(stage, rows, stages.gold_ids(policy, rows), SAMPLING)
    found = short.measure(stage)
    assert 0 < found.kl_tokens <= 70
    assert found.call_agreement == 1.0 and found.rows == len(rows)  # calls are, of all rows


@pytest.mark.slow
def test_rows_beyond_a_files_context_cost_themselves_only(
    policy: Policy, reference: Reference, rows: Sequence[Example], tmp_path: Path
) -> None:
    lengths = sorted(len(policy.prompter.ids(row.messages, row.tools)) for row in rows)
    (file,) = export_gguf(NANO, None, tmp_path, ["F16"])
    with stages.gguf_stage(file.path, "F16", lengths[4]) as stage:
        found = reference.measure(stage)
    assert found.rows == reference.result.rows == 8
    assert 0 < found.call_agreement < 1
    assert found.kl_mean is not None and found.kl_mean < 1e-4


def test_two_rows_with_one_id_are_refused(stage: Stage, rows: Sequence[Example]) -> None:
    with pytest.raises(UsageError, match="share an id"):
        Reference.of(stage, [rows[0], rows[0]], [[], []], SAMPLING)


@pytest.mark.parametrize("target", ["base", "nf4"])
def test_filled_weights_are_those_of_the_merge(nano_adapter: Path, target: str) -> None:
    weights = TrainedWeights.open(NANO, nano_adapter, target)
    plain = stages.load_plain(Subject(NANO, None, None, "base"))
    stages.fill(plain, weights)
    places = dict(plain.causal.named_parameters())
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.3.mlp.down_proj.weight"):
        assert torch.equal(places[name], torch.from_numpy(weights.read(name)))


@pytest.mark.slow
def test_a_file_that_lost_too_much_is_rejected_and_the_others_are_not(
    reference: Reference, tmp_path: Path, console: Said
) -> None:
    """A good file, and one whose weights are those of another model."""
    (good,) = export_gguf(NANO, None, tmp_path / "good", ["F16"])
    broken_model = scrambled(tmp_path / "broken")
    (broken,) = export_gguf(broken_model, None, tmp_path / "bad", ["Q8_0"])
    survey = Survey("base", HeldOut("demo", reference.examples), 1.0, console, reference)
    assert reference.result.exact > 0
    judged = survey.judge({"Q8_0": broken.path, "F16": good.path})
    assert isinstance(judged, Judgement) and list(judged.rejected) == ["Q8_0"]
    assert [step["step"] for step in judged.measured["measured"]] == ["model", "F16", "Q8_0"]
    assert "Q8_0  rejected" in console.text and "F16  rejected" not in console.text
    lenient = Survey("base", HeldOut("demo", reference.examples), None, console, reference)
    assert not lenient.judge({"Q8_0": broken.path}).rejected


def scrambled(folder: Path) -> Path:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(NANO, folder, ignore=shutil.ignore_patterns("measured"))
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name] = torch.randn_like(weights[name].float()).to(weights[name].dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


RESULT = StageResult(
    step="merged", runtime="policy", rows=100, exact=50, exact_match=0.5,
    exact_match_ci95=(0.4, 0.6), prompt_parity=1.0, other_prompts=(), call_agreement=1.0, lost=0,
    gained=0, kl_mean=0.1, kl_p99=0.2, kl_tokens=10, perplexity=1.1, size=None, load_seconds=0.1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("nf4", "base", "chosen", "by", "tie"),
    [
        ({"lost": 3}, {"lost": 1, "kl_mean": 9.0}, "base", "rows lost", False),
        ({"lost": 1}, {"lost": 3, "gained": 9}, "nf4", "rows lost", False),
        ({"kl_mean": 0.2}, {"kl_mean": 0.1}, "base", "mean KL", True),
        ({"kl_mean": None}, {"kl_mean": None}, "nf4", "what was trained on", True),
    ],
)
def test_the_merge_that_loses_fewest_rows_is_taken(
    nf4: dict, base: dict, chosen: str, by: str, tie: bool
) -> None:
    choice = choose({"nf4": replace(RESULT, **nf4), "base": replace(RESULT, **base)})
    assert (choice.chosen, choice.by, choice.tie) == (chosen, by, tie)
    assert choice.as_json()["tie"] is tie
    assert ("a tie, decided by" in choice.summary) is tie
