"""How rows are laid out, and that the pass stays exact when it saves memory (see test_families)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from edgetool.train import update
from edgetool.train.load import LoadSettings
from edgetool.train.packing import FULL, Group, block_mask, micro_batches, pack
from edgetool.train.policy import Policy
from edgetool.train.update import completion_logps
from tests.train.plain import error, gradients, make_groups, plain_logps

RAGGED = [(17, [5, 1, 9]), (40, [3, 3]), (1, [4, 12, 2, 1]), (23, [30, 1])]


def check_exact(policy: Policy, groups: list[Group]) -> None:
    packed, _ = completion_logps(policy.network, pack(groups), temperature=1.0)
    plain = plain_logps(policy, groups)
    assert error(packed, plain) <= 1e-5
    ours, theirs = gradients(policy, packed), gradients(policy, plain)
    assert ours.keys() == theirs.keys() == policy.trainable().keys()
    for name in ours:
        assert error(ours[name], theirs[name]) <= 1e-5, name


def test_the_pass_is_exact_with_gradient_checkpointing(make_policy: Callable[..., Policy]) -> None:
    settings = LoadSettings(bf16=False, device="cpu", gradient_checkpointing=True)
    policy = make_policy(settings)
    policy.causal.train()
    check_exact(policy, make_groups(RAGGED[:2]))


def test_the_pass_is_exact_when_logits_come_in_chunks(
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


# prompt, prompt, a, b, b, padding
BLOCKS, POSITIONS = torch.tensor([[0, 0, 1, 2, 2, -1]]), torch.tensor([[0, 1, 2, 2, 3, 0]])


def test_mask_by_hand() -> None:
    seen = block_mask(BLOCKS, POSITIONS)[0, 0].int().tolist()
    assert seen[:5] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
    ]
    assert seen[5][5] == 1  # softmax over nothing would be NaN


def test_a_window_is_measured_in_positions_by_hand() -> None:
    # b stands on columns 3 and 4 but on positions 2 and 3: its first token still sees position 1
    seen = block_mask(BLOCKS, POSITIONS, window=2)[0, 0].int().tolist()
    assert seen[:5] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
    ]
    assert seen[5][5] == 1


def test_a_window_gets_a_mask_of_its_own_only_where_it_hides_something() -> None:
    groups = [Group([10, 11], [[20, 21, 22], [30]], [0, 1])]  # positions 0 to 3
    windows = {"full_attention": None, "sliding_attention": 3}
    mask = pack(groups, windows).mask
    assert isinstance(mask, dict)
    assert mask["full_attention"][0, 0, 3].tolist() == [True, True, True, True]
    assert mask["sliding_attention"][0, 0, 3].tolist() == [False, True, True, True]
    plain = pack(groups).mask
    assert isinstance(plain, torch.Tensor)
    for same in (pack(groups, {**windows, "sliding_attention": 4}), pack(groups, FULL)):
        assert isinstance(same.mask, torch.Tensor)
        assert torch.equal(same.mask, plain)
    every_layer = pack(groups, {"sliding_attention": 3}).mask
    assert isinstance(every_layer, torch.Tensor)
    assert torch.equal(every_layer, mask["sliding_attention"])


def test_micro_batches_keep_to_the_budget_and_lose_no_group() -> None:
    groups = make_groups([(n, [4, 4]) for n in (50, 10, 30, 70, 20, 60, 200)])
    batches = list(micro_batches(groups, 150))
    for batch in batches:
        assert len(batch) * max(map(len, batch)) <= 150 or len(batch) == 1
    assert sorted(g.owners[0] for batch in batches for g in batch) == [0, 2, 4, 6, 8, 10, 12]
