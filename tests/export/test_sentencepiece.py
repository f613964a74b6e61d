"""SentencePiece vocabularies: llama.cpp cuts text as the tokenizer they came from does."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from edgetool.errors import ModelError
from edgetool.export.export import export_gguf
from edgetool.export.model_folder import ModelFolder
from edgetool.export.parity import _llama_tokenizer, as_prompts, token_mismatches
from edgetool.export.receipt import FILE, read_receipt
from edgetool.export.tokenizer.probes import PROBES
from edgetool.export.tokenizer.sentencepiece import (
    BYTE,
    BYTES,
    SPACE,
    UNKNOWN,
    lacks_merges,
    read_pieces,
)
from edgetool.export.tokenizer.vocabulary import CONTROL, USER_DEFINED, read_vocabulary
from tests.export.conftest import Folder, edit_json
from tests.export.test_vocabulary import NASTY

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
LEGACY = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, REPLACE]}
GEMMA_SPLIT = {
    "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
}  # fmt: skip
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False}
# What a published tokenizer.json does before it merges -> is a space put before every text?
STEPS: dict[str, tuple[dict[str, Any], bool]] = {
    "Llama 2": ({"normalizer": LEGACY, "pre_tokenizer": None}, True),
    "Metaspace": ({"normalizer": None, "pre_tokenizer": METASPACE}, True),
    "Mistral": ({"pre_tokenizer": METASPACE | {"prepend_scheme": "first"}}, False),
    "Gemma": ({"normalizer": REPLACE, "pre_tokenizer": GEMMA_SPLIT}, False),
}
MARKERS = ("<unk>", "<s>", "</s>", "<tool_call>", "</tool_call>")
TEXTS = [*PROBES, *NASTY, "play the song Blue Train by John Coltrane", "book a table for 4 at 8"]


def added(text: str, number: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": "tool_call" not in text, **flags}


def tokenizer_json(pieces: Iterable[tuple[str, float]], steps: dict[str, Any]) -> dict[str, Any]:
    """As transformers writes it for a SentencePiece model: every way to make a piece is a merge,
    the likeliest pieces first."""
    tokens = list(pieces)
    vocab = {piece: number for number, (piece, _) in enumerate(tokens)}
    merges = []
    for piece, score in tokens:
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = [(a, b) for a, b in splits if a in vocab and b in vocab]
        merges += [(-score, vocab[a], vocab[b], [a, b]) for a, b in known]
    model = {
        "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
        "vocab": vocab, "merges": [merge for *_, merge in sorted(merges, key=lambda m: m[:3])],
    }  # fmt: skip
    marked = [added(text, vocab[text]) for text in MARKERS if text in vocab]
    return {"version": "1.0", "added_tokens": marked, "model": model, **steps}


@pytest.fixture(scope="module")
def learned() -> list[tuple[str, float]]:
    """Pieces of a small vocabulary: markers, bytes, characters and what merges make of them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    trainer = trainers.BpeTrainer(vocab_size=600, min_frequency=1, show_progress=False)
    readable = [text.lower().replace("\0", "") for text in TEXTS]
    tokenizer.train_from_iterator(readable * 3, trainer)
    found = json.loads(tokenizer.to_str())["model"]["vocab"]
    words = sorted(set(found) - set(MARKERS), key=found.__getitem__)
    return [(piece, -float(rank)) for rank, piece in enumerate([*MARKERS, *BYTES, *words])]


@pytest.fixture
def with_tokenizer(make_model: Folder, tmp_path: Path) -> Callable[[dict[str, Any], int], Path]:
    def make(content: dict[str, Any], rows: int) -> Path:
        shape = {"hidden_size": 64, "num_hidden_layers": 1, "eos_token_id": 2, "pad_token_id": 0}
        folder = make_model("Llama", vocab_size=rows, **shape)
        (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        edit_json(folder / "tokenizer_config.json", eos_token="</s>", bos_token="<s>")
        edit_json(folder / "tokenizer_config.json", pad_token=None)
        return folder

    return make


def mismatches(folder: Path, out: Path, texts: Iterable[str]) -> list[Any]:
    export_gguf(folder, None, out, ["F16"])
    return token_mismatches(out / "model.F16.gguf", ModelFolder.open(folder), texts)


@pytest.mark.parametrize("steps", STEPS)
def test_every_published_form_is_cut_as_its_tokenizer_does(
    learned: list[tuple[str, float]], with_tokenizer: Any, tmp_path: Path, steps: str
) -> None:
    content = tokenizer_json(learned, STEPS[steps][0])
    folder = with_tokenizer(content, 1024)
    draw = random.Random(0)
    pieces = [piece.replace(SPACE, " ") for piece, _ in learned[len(MARKERS) + len(BYTES) :]]
    mixed = ["".join(draw.choices(pieces, k=draw.randint(1, 12))) for _ in range(300)]
    assert mismatches(folder, tmp_path, as_prompts([*TEXTS, *mixed], content)) == []


@pytest.mark.parametrize("steps", STEPS)
def test_token_types_and_the_first_space_are_written(
    learned: list[tuple[str, float]], with_tokenizer: Any, steps: str
) -> None:
    changes, prefix = STEPS[steps]
    folder = with_tokenizer(tokenizer_json(learned, changes), 1024)
    vocabulary = read_vocabulary(ModelFolder.open(folder), 1024)
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert vocabulary.pieces is not None
    assert (vocabulary.pieces.model, vocabulary.pieces.space_prefix) == ("llama", prefix)
    assert kinds["<unk>"] == UNKNOWN
    assert kinds["<0x0A>"] == kinds["<0xFF>"] == BYTE
    assert kinds["</s>"] == CONTROL
    assert kinds["<tool_call>"] == USER_DEFINED


def test_a_piece_scores_by_its_first_merge() -> None:
    # "ab" is made first (rank 0), "abc" by "ab" + "c" (1) and again by "a" + "bc" (3).
    model = {
        "type": "BPE", "byte_fallback": True, "unk_token": None,
        "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5, "never": 6},
        "merges": [["a", "b"], ["ab", "c"], ["b", "c"], ["a", "bc"]],
    }  # fmt: skip
    scores = read_pieces({"model": model, "normalizer": REPLACE}, "here").scores
    assert [scores[piece] for piece in ("a", "ab", "abc", "bc")] == [0.0, 0.0, -1.0, -2.0]
    assert scores["never"] < -1e6


def test_merges_that_llama_cpp_would_make_otherwise_are_refused(
    learned: list[tuple[str, float]], with_tokenizer: Any, tmp_path: Path
) -> None:
    """The check inside an export can fail: the same pieces, every other way to make them gone."""
    content = tokenizer_json(learned, STEPS["Gemma"][0])
    content["model"]["merges"] = content["model"]["merges"][::2]
    with pytest.raises(ModelError, match="other tokens than the model's tokenizer"):
        export_gguf(with_tokenizer(content, 1024), None, tmp_path, ["F16"])
    assert not list(tmp_path.glob("*.gguf"))


def test_merges_that_only_llama_cpp_makes_are_seen() -> None:
    # "abc" is "ab" + "c" here; llama.cpp makes it of "a" + "bc", too.
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    some = [["a", "b"], ["b", "c"], ["ab", "c"]]
    model = {"type": "BPE", "vocab": vocab, "merges": some}
    assert lacks_merges({"model": model, "normalizer": REPLACE})
    every = {**model, "merges": [*some, ["a", "bc"]]}
    assert not lacks_merges({"model": every, "normalizer": REPLACE})
    assert not lacks_merges({"model": model, "normalizer": None})  # byte-level: merges are kept


def test_published_forms_lack_no_merges(learned: list[tuple[str, float]]) -> None:
    assert not lacks_merges(tokenizer_json(learned, STEPS["Llama 2"][0]))


@pytest.mark.parametrize("prefix", ["always", "never"])
def test_a_unigram_vocabulary_is_cut_as_its_tokenizer_does(
    with_tokenizer: Any, tmp_path: Path, prefix: str
) -> None:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prefix, split=True)
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(MARKERS), unk_token="<unk>", show_progress=False
    )
    plain = [text for text in TEXTS if text.isascii()]
    tokenizer.train_from_iterator(plain * 3, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [added(text, number) for number, text in enumerate(MARKERS)]
    folder = with_tokenizer(content, 512)
    words = "book a table for 4, play the song; it's done".split(" ")
    draw = random.Random(0)
    mixed = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(200)]
    assert mismatches(folder, tmp_path, mixed) == []


@pytest.mark.parametrize("text", ["a\0b", "<s>"])
def test_a_vocabulary_that_would_end_llama_cpp_is_refused(
    learned: list[tuple[str, float]], with_tokenizer: Any, text: str
) -> None:
    content = tokenizer_json(learned, STEPS["Gemma"][0])
    content["added_tokens"].append(added(text, len(learned)))
    with pytest.raises(
        ModelError, match=f"token {len(learned)} of the tokenizer, {re.escape(repr(text))}, has"
    ):
        read_vocabulary(ModelFolder.open(with_tokenizer(content, 1024)), 1024)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "'Lowercase'} is not in llama.cpp"),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "nor SentencePiece's .its pre-tokenizer is White",
        ),
        ({"normalizer": REPLACE, "pre_tokenizer": {"type": "Digits"}}, "like {'type': 'Digits'}"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "no WordPiece tokenizer"),
    ],
)
def test_what_llama_cpp_does_not_do_before_merging_is_refused(
    learned: list[tuple[str, float]], with_tokenizer: Any, changes: dict[str, Any], said: str
) -> None:
    content = tokenizer_json(learned, STEPS["Metaspace"][0])
    folder = with_tokenizer(content | changes, 1024)
    with pytest.raises(ModelError, match=said):
        read_vocabulary(ModelFolder.open(folder), 1024)


KEEP_SPACES = ("<unk>", "<s>", "<|endoftext|>")  # markers of Phi-3 that take none behind them


def published(shared: Path, name: str) -> tuple[list[tuple[str, float]], list[int]]:
    from gguf import GGUFReader

    fields = GGUFReader(shared / "fixtures" / "vocab" / f"ggml-vocab-{name}.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    scores = fields["tokenizer.ggml.scores"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    return list(zip(tokens, scores, strict=True)), types


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_published_vocabularies_write_the_published_ids(
    shared: Path, make_model: Folder, tmp_path: Path, name: str
) -> None:
    """llama.cpp's published vocabulary tests: pieces of text and, line by line, their ids."""
    pieces, types = published(shared, name)
    content = tokenizer_json(pieces, STEPS["Llama 2"][0])
    content["added_tokens"] = [
        added(text, number) | {"rstrip": name == "phi-3" and text not in KEEP_SPACES}
        for number, (text, _) in enumerate(pieces)
        if types[number] in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    made = make_model("Llama", vocab_size=len(pieces), hidden_size=32, num_hidden_layers=1)
    folder = Path(shutil.move(made, tmp_path / name))
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    export_gguf(folder, None, tmp_path, ["F16"])
    source = shared / "fixtures" / "vocab" / f"ggml-vocab-{name}.gguf"
    texts = source.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = source.with_suffix(".gguf.out").read_text().splitlines()
    expected = [[int(number) for number in line.split()] for line in lines]
    with _llama_tokenizer(tmp_path / "model.F16.gguf") as encode:
        assert [encode(text) for text in texts[: len(expected)]] == expected


STORY = 200
TEMPLATE = "{{ tools }}{% for message in messages %}{{ message.content }}{% endfor %}"


def test_a_real_pretrained_model_tells_the_same_story(shared: Path, tmp_path: Path) -> None:
    import torch
    from llama_cpp import Llama
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(shared / "fixtures" / "tinystories-656k", tmp_path / "model"))
    edit_json(folder / "tokenizer_config.json", chat_template=TEMPLATE)
    export_gguf(folder, None, tmp_path, ["F32"])
    # Its merges are not SentencePiece's, so pieces at random are cut otherwise here and there.
    measured = read_receipt(tmp_path / FILE)["tokens"]
    assert 0.9 < measured["same_tokens"] < 1
    assert measured["other"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = tokenizer.encode("Once upon a time, there was a little girl").ids
    with torch.no_grad():
        ours = model.generate(
            torch.tensor([prompt]), do_sample=False, min_new_tokens=STORY, max_new_tokens=STORY
        )[0].tolist()
    engine = Llama(str(tmp_path / "model.F32.gguf"), n_ctx=512, logits_all=True, verbose=False)
    theirs = list(prompt)
    engine.eval(theirs)
    while len(theirs) < len(ours):
        logits = engine.scores[engine.n_tokens - 1].copy()
        logits[model.config.eos_token_id] = -1e9  # as min_new_tokens does
        theirs.append(int(logits.argmax()))
        engine.eval(theirs[-1:])
    assert theirs == ours
