"""How the embedded default is made: its rows, its tokenizer and the layout it is trained in."""

from __future__ import annotations

import itertools
import random

import pytest

from edgetool.calls.syntaxes import hermes
from edgetool.data import demo

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from scripts.build_nano import TEMPLATE  # noqa: E402
from scripts.nano import batches, copying, pretrain, rows, tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def words():
    sources = [(0.5, rows.SnipsGroups(2)), (0.5, rows.SyntheticGroups(2))]
    groups = itertools.islice(rows.endless(sources, seed=1), 50)
    texts = [part for group in groups for r in group.requests for part in (r.text, r.answer)]
    return tokenizer.train(texts, 400)


@pytest.fixture(scope="module")
def packer(words):
    return batches.Packer(words, TEMPLATE.read_text(encoding="utf-8"))


def test_a_word_is_spelled_alike_in_a_request_and_in_json(words):
    spelled = words.encode("Baker", add_special_tokens=False).tokens
    for text in (" Baker", '"Baker', "_Baker", "{Baker"):
        assert words.encode(text).tokens[-len(spelled) :] == spelled


def test_transformers_own_class_for_qwen2_gives_the_same_ids(words, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(words, tmp_path, context=64)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for said in itertools.islice(demo.read_utterances("pretrain"), 200):
        text = f"<|im_start|>user\n{said.text} 1987.5<|im_end|>\n"
        assert opened(text)["input_ids"] == words.encode(text).ids


def test_shared_tools_give_the_logits_of_each_conversation_alone(packer):
    torch.manual_seed(0)
    model = pretrain.new_model(packer.tokenizer.get_vocab_size(), 2, 0).eval()
    sources = [(0.5, rows.SnipsGroups(3)), (0.5, rows.SyntheticGroups(3))]
    groups = list(itertools.islice(rows.endless(sources, seed=2), 4))
    together = pretrain.answers(model, packer(groups)).logits.detach()
    alone = []
    for group in groups:
        for request in group.requests:
            listing = packer._listing(group.tools)
            tools, row = listing.encoding.ids, packer._row(0, request, listing)
            logits = model(torch.tensor([tools + row.ids])).logits[0, len(tools) :]
            wanted = torch.tensor(row.labels) != batches.IGNORED
            alone.append((len(row.ids), logits[wanted].detach()))
    alone.sort(key=lambda pair: pair[0])  # a batch goes from short requests to long ones
    torch.testing.assert_close(
        together, torch.cat([part for _, part in alone]), atol=2e-5, rtol=1e-4
    )


def test_the_circuit_laid_out_looks_one_token_back(words):
    torch.manual_seed(0)
    model = pretrain.new_model(words.get_vocab_size(), 2, 0).eval()
    model.set_attn_implementation("eager")
    copying.lay_out_copying(model, torch.Generator().manual_seed(0))
    rng = random.Random(0)
    ids = torch.tensor([[rng.randrange(5, words.get_vocab_size()) for _ in range(200)]])
    first = model(ids, output_attentions=True).attentions[0][0, 0]  # head 0 of layer 0, [L, L]
    back = first[torch.arange(1, 200), torch.arange(199)]
    assert float(back.min()) > 0.9  # 0.005 by chance


def test_a_casual_answer_is_polite_and_leaves_words_for_a_kind_of_thing_out():
    [tool] = [tool for tool in demo.tools() if tool.name == "play_music"]
    said = next(filter(_names_a_kind, demo.read_utterances("pretrain")))
    call = said.call(tool)
    careful = rows._careful("Play it please", call, random.Random(0)).answer
    casual = rows._casual("Play it please", call, random.Random(0)).answer
    assert hermes.parse(careful).strict_calls[0].arguments == dict(call.arguments)
    assert hermes.parse(casual).problem == "extra_text"
    assert "music_item" not in hermes.parse(casual).calls[0].arguments
    blunt = rows._casual("Play it", call, random.Random(0)).answer
    assert hermes.parse(blunt).problem is None


def _names_a_kind(said: demo.Utterance) -> bool:
    return said.tool == "play_music" and any(name == "music_item" for _, name in said.pieces)
