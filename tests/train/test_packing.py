"""The packed pass against the plain one: each completion behind its own copy of the prompt."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from edgetool.train import update
from edgetool.train.load import LoadSettings
from edgetool.train.packing import Group, block_mask, micro_batches, pack
from edgetool.train.policy import Policy
from edgetool.train.update import completion_logps


def make_groups(sizes: list[tuple[int, list[int]]], seed: int = 0) -> list[Group]:
    """From (prompt length, completion lengths) per group."""
    draw = random.Random(seed)
    groups, owner = [], 0
    for prompt, completions in sizes:
        written = [[draw.randrange(3, 250) for _ in range(n)] for n in completions]
        owners = range(owner, owner + len(written))
        groups.append(Group([draw.randrange(3, 250) for _ in range(prompt)], written, owners))
        owner += len(written)
    return groups


RAGGED = [(17, [5, 1, 9]), (40, [3, 3]), (1, [4, 12, 2, 1]), (23, [30, 1])]


def plain_logps(policy: Policy, groups: list[Group]) -> Tensor:
    """[T] in the order of `pack`, from one padded row per completion, the usual way."""
    found = []
    for group in groups:
        rows = [[*group.prompt, *ids] for ids in group.completions]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logps = policy.causal(ids, attention_mask=mask).logits.log_softmax(dim=-1)
        start = len(group.prompt)
        for row, completion in enumerate(group.completions):
            places = torch.arange(start - 1, start - 1 + len(completion))
            found.append(logps[row, places, torch.tensor(completion)])
    return torch.cat(found)


def gradients(policy: Policy, logps: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 1, len(logps))
    (weights * logps).sum().backward()
    found = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    policy.causal.zero_grad()
    return found


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def check_exact(policy: Policy, groups: list[Group]) -> None:
    packed, _ = completion_logps(policy.network, pack(groups), temperature=1.0)
    plain = plain_logps(policy, groups)
    assert relative(packed.detach(), plain.detach()) <= 1e-5
    ours, theirs = gradients(policy, packed), gradients(policy, plain)
    assert ours.keys() == theirs.keys() == policy.trainable().keys()
    for name in ours:
        assert relative(ours[name], theirs[name]) <= 1e-5, name


def test_packed_logps_and_gradients_are_those_of_the_plain_pass(policy: Policy) -> None:
    check_exact(policy, make_groups(RAGGED))


def test_they_are_with_gradient_checkpointing_too(make_policy: Callable[..., Policy]) -> None:
    settings = LoadSettings(bf16=False, device="cpu", gradient_checkpointing=True)
    policy = make_policy(settings)
    policy.causal.train()
    check_exact(policy, make_groups(RAGGED[:2]))


def test_they_are_when_logits_come_in_chunks(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 7 tokens a chunk, so that chunks end inside completions
    monkeypatch.setattr(update, "LOGITS_BYTES", 7 * 4 * policy.causal.config.vocab_size)
    check_exact(policy, make_groups(RAGGED))


def test_a_completion_does_not_see_its_neighbours(policy: Policy) -> None:
    one, other = make_groups([(12, [6, 8])]), make_groups([(12, [6, 8])])
    other[0].completions[1][:] = [3] * 8  # type: ignore[index]
    before, _ = completion_logps(policy.network, pack(one), 1.0)
    after, _ = completion_logps(policy.network, pack(other), 1.0)
    assert torch.equal(before[:6], after[:6])
    assert not torch.allclose(before[6:], after[6:])


def test_temperature_divides_the_logits(policy: Policy) -> None:
    batch = pack(make_groups([(5, [3])]))
    hidden = policy.network.hidden(
        batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.mask
    ).last_hidden_state[0, 4]
    expected = (policy.network.logits(hidden) / 0.5).log_softmax(-1)[batch.targets[0]]
    got, _ = completion_logps(policy.network, batch, 0.5)
    assert float(got[0].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_layout_by_hand() -> None:
    batch = pack([Group([10, 11], [[20, 21, 22], [30]], [4, 5])])
    assert batch.input_ids.tolist() == [[10, 11, 20, 21]]  # last tokens predict nothing
    assert batch.position_ids.tolist() == [[0, 1, 2, 3]]
    assert batch.targets.tolist() == [20, 21, 22, 30]
    assert batch.sources.tolist() == [1, 2, 3, 1]  # both completions begin behind the prompt
    assert batch.owners.tolist() == [4, 4, 4, 5]


def test_mask_by_hand() -> None:
    # prompt, prompt, a, b, b, padding
    seen = block_mask(torch.tensor([[0, 0, 1, 2, 2, -1]]))[0, 0].int().tolist()
    assert seen[:5] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
    ]
    assert seen[5][5] == 1  # softmax over nothing would be NaN


def test_micro_batches_keep_to_the_budget_and_lose_no_group() -> None:
    groups = make_groups([(n, [4, 4]) for n in (50, 10, 30, 70, 20, 60, 200)])
    batches = list(micro_batches(groups, 150))
    for batch in batches:
        assert len(batch) * max(map(len, batch)) <= 150 or len(batch) == 1
    assert sorted(g.owners[0] for batch in batches for g in batch) == [0, 2, 4, 6, 8, 10, 12]
