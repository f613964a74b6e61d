"""Where nano's guided heads are told to look, and how they are told."""

from __future__ import annotations

import itertools
import math

import pytest

from edgetool.calls.syntaxes import hermes
from edgetool.calls.types import Tool, ToolCall

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from scripts.build_nano import TEMPLATE  # noqa: E402
from scripts.nano import batches, guide, pointers, pretrain, rows, tokenizer  # noqa: E402

CITY = {"city": {"type": "string", "description": "which town"}}
DAYS = {"days": {"type": "integer", "description": "how long"}}
WEATHER = Tool("sky", "Weather forecast", {"type": "object", "properties": {**CITY, **DAYS}})
MUSIC = Tool("krest", "Play music", {"type": "object", "properties": {}})
CALL = ToolCall("sky", {"city": "Oslo", "days": 12})
FOUND = rows.Request("rain in Oslo for 12 days", hermes.render([CALL]), CALL)
ABSENT = rows.Request("tell a joke", rows.NO_CALL, None)


@pytest.fixture(scope="module")
def packer():
    words = tokenizer.train([FOUND.text, FOUND.answer] * 3, 300)
    return batches.Packer(words, TEMPLATE.read_text(encoding="utf-8"))


def spelled(packer, request, kind):
    """(the text that a token of the answer foretells, the text that it should look at)."""
    batch = packer([rows.Group((MUSIC, WEATHER), (request,))])
    [chunk], decode = batch.chunks, packer.tokenizer.decode
    own, keys = chunk.ids[0], torch.cat([batch.tools[0], chunk.ids[0]])
    found: dict[int, list[int]] = {}
    for query, key in chunk.pointers[kind][0].nonzero().tolist():
        found.setdefault(query, []).append(int(keys[key]))
    return [(decode([int(own[query + 1])]), decode(ids)) for query, ids in found.items()]


def test_a_name_is_read_from_the_list_token_by_token(packer):
    read = spelled(packer, FOUND, "name")
    assert all(next_token == source for next_token, source in read)
    assert "".join(token for token, _ in read) == "skycitydays"


def test_a_value_is_read_from_the_request_token_by_token(packer):
    read = spelled(packer, FOUND, "value")
    assert all(next_token == source for next_token, source in read)
    assert "".join(token for token, _ in read) == "Oslo12"


def test_all_of_an_answer_looks_at_the_name_of_what_it_is_about(packer):
    chosen = [
        name for name, _ in itertools.groupby(spelled(packer, FOUND, "choose"), lambda x: x[1])
    ]
    assert chosen == ["sky", "city", "days", ""]  # in the end nothing: the prompt's first token


def test_an_answer_without_a_call_looks_at_nothing(packer):
    assert spelled(packer, ABSENT, "choose") == [("N", "")]
    assert spelled(packer, ABSENT, "name") == spelled(packer, ABSENT, "value") == []


def test_a_name_in_the_list_looks_at_the_words_of_its_own_description(packer):
    batch = packer([rows.Group((MUSIC, WEATHER), (FOUND,))])
    said = {}
    for name, word in batch.pointers["describe"][0].nonzero().tolist():
        assert word < name  # or it could not be seen
        said.setdefault(name, []).append(int(batch.tools[0, word]))
    letters = {packer.tokenizer.decode(ids).replace(" ", "") for ids in said.values()}
    assert letters == {"Playmusic", "Weatherforecast", "whichtown", "howlong"}


def test_a_name_that_ends_another_tools_description_is_not_taken_for_it(packer):
    tool = Tool("ic", "Play music", {"type": "object", "properties": {}})
    text = packer.tools_text((tool,))
    encoding = packer.tokenizer.encode(text)
    entry = pointers.read_listing(text, encoding, (tool,)).entries["ic", None]
    assert encoding.offsets[entry.named.start][0] == text.rindex("ic")


def test_attention_beside_its_targets_is_what_it_costs():
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    target = torch.tensor([[True, True, False]])
    # 0.75 of it falls on the two; each of them in the mean: -(ln 1/2 + ln 1/4) / 2 = 1.5 ln 2
    assert guide.beside(scores, target, False).item() == pytest.approx(-math.log(0.75))
    assert guide.beside(scores, target, True).item() == pytest.approx(1.5 * math.log(2))


def test_a_query_cannot_reach_what_it_does_not_see():
    query, key = torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)
    target = torch.zeros(1, 3, 3, dtype=torch.bool)
    target[0, 1, 0] = True
    scores, kept = guide.attended(query, key, None, target, 0.5)
    assert scores.tolist() == [[0.0, 0.0, -math.inf]]  # one query has a target, and is the second
    assert guide.beside(scores, kept, False).item() == pytest.approx(math.log(2))


@pytest.mark.slow
def test_a_guided_head_comes_to_look_where_it_is_told(packer):
    torch.manual_seed(0)
    model = pretrain.new_model(packer.tokenizer.get_vocab_size(), 2, 0)
    taught, batch = guide.Guide(model), packer([rows.Group((MUSIC, WEATHER), (FOUND, ABSENT))])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    costs = []
    for _ in range(30):
        pretrain.answers(model, batch, taught)
        losses = taught.losses()
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        costs.append({kind: loss.item() for kind, loss in losses.items()})
    assert set(costs[0]) == set(guide.HEADS)
    for kind in ("choose", "name", "value"):  # from one in 60 tokens to most of the attention
        assert costs[0][kind] > 2 and costs[-1][kind] < 0.5


def test_guiding_leaves_what_the_model_says_as_it_was(packer):
    torch.manual_seed(0)
    model = pretrain.new_model(packer.tokenizer.get_vocab_size(), 2, 0).eval()
    batch = packer([rows.Group((MUSIC, WEATHER), (FOUND, ABSENT))])
    plain = pretrain.answers(model, batch).logits
    guided = pretrain.answers(model, batch, guide.Guide(model)).logits
    torch.testing.assert_close(plain, guided, atol=0, rtol=0)
