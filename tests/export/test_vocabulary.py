"""llama.cpp cuts text exactly as the model's own tokenizer does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgetool.errors import ModelError
from edgetool.export.export import export_gguf
from edgetool.export.model_folder import ModelFolder
from edgetool.export.parity import require_same_tokens, token_mismatches
from edgetool.export.tokenizer.probes import PROBES
from edgetool.export.tokenizer.vocabulary import (
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    read_vocabulary,
)
from edgetool.gguf_base import pretokenizers
from tests.export.conftest import Folder, edit_json

NASTY = (
    "", " ", "  ", "\n", "\r\n", "\t \n", "a" * 300, " " * 64 + "x",
    "<tool_call>{}</tool_call>", "<|im_start|>user\nhi<|im_end|>", "<|im_start", "<tool_call",
    "<|im_start|><|im_start|>", "1234567890 ١٢٣ Ⅻ ½", "O'Neill's 'tis don'T WE'LL",
    "\u200b\ufeff\u0000\u001f\u007f", "e\u0301 नि 👨‍👩‍👧‍👦 🇳🇴", "日本語テキスト", "ǅ ß ẞ İ ı",
)  # fmt: skip


def pre_tokenizer(regexes: tuple[str, ...]) -> dict[str, Any]:
    split = [
        {"type": "Split", "pattern": {"Regex": r}, "behavior": "Isolated", "invert": False}
        for r in regexes
    ]
    last = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False,
    }  # fmt: skip
    return {"type": "Sequence", "pretokenizers": [*split, last]}


def train_over_whole_lines(folder: Path) -> None:
    """A vocabulary with merges across every border a pre-tokenizer could draw.

    Trained without one, so where llama.cpp and the tokenizer cut differently, tokens differ too.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*PROBES, *NASTY] * 3, trainer)
    tokenizer.add_special_tokens(["<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def roomy_model(make_model: Folder) -> Path:
    folder = make_model("Qwen2", vocab_size=1024, eos_token_id=None, pad_token_id=None)
    train_over_whole_lines(folder)
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    return folder


@pytest.mark.parametrize(("rule", "name"), list(pretokenizers.KNOWN.items()), ids=str)
def test_every_known_pre_tokenizer_cuts_as_llama_cpp_does(
    roomy_model: Path, tmp_path: Path, rule: tuple[tuple[str, ...], bool], name: str
) -> None:
    regexes, ignore_merges = rule
    folder = Path(shutil.copytree(roomy_model, tmp_path / "model"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["ignore_merges"] = ignore_merges
    edit_json(
        folder / "tokenizer.json", model=content["model"], pre_tokenizer=pre_tokenizer(regexes)
    )
    export_gguf(folder, None, tmp_path, ["Q8_0"])
    opened = ModelFolder.open(folder)
    assert read_vocabulary(opened, 1024).pre == name
    assert token_mismatches(tmp_path / "model.Q8_0.gguf", opened, NASTY) == []


QWEN2_OTHERWISE = (
    r"'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|(?:[^\r\n\p{L}\p{N}])?\p{L}+|\p{N}"
    r"|[ ]?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES_LAST = {
    "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
}  # fmt: skip
DIGITS = {"type": "Split", "pattern": {"Regex": r"[\p{N}]"}, "behavior": "Isolated",
          "invert": False}  # fmt: skip


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (pre_tokenizer((QWEN2_OTHERWISE,)), "qwen2"),
        ({"type": "Sequence", "pretokenizers": [DIGITS, BYTES_LAST]}, "smollm"),
    ],
)
def test_a_pre_tokenizer_spelled_otherwise_is_known_by_what_it_does(
    roomy_model: Path, tmp_path: Path, step: dict[str, Any], name: str
) -> None:
    folder = Path(shutil.copytree(roomy_model, tmp_path / "model"))
    edit_json(folder / "tokenizer.json", pre_tokenizer=step)
    export_gguf(folder, None, tmp_path, ["Q8_0"])
    opened = ModelFolder.open(folder)
    assert read_vocabulary(opened, 1024).pre == name
    assert token_mismatches(tmp_path / "model.Q8_0.gguf", opened, NASTY) == []


def test_the_nearest_pre_tokenizer_is_shown_with_its_other_cut(model_copy: Path) -> None:
    two_digits = pretokenizers.QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,2}|")
    edit_json(model_copy / "tokenizer.json", pre_tokenizer=pre_tokenizer((two_digits,)))
    # "3 33 333 3333": alike up to the first three digits in a row.
    said = r"the nearest is smaug-bpe: \['333', ' ', '333'\] instead of \['33', '3', ' '\]"
    with pytest.raises(ModelError, match=said):
        read_vocabulary(ModelFolder.open(model_copy), 400)


def test_a_wrong_pre_tokenizer_would_be_noticed(roomy_model: Path, tmp_path: Path) -> None:
    """The check inside an export can fail: qwen2's file against a gpt-2 tokenizer."""
    folders = []
    for regex in (pretokenizers.QWEN2, pretokenizers.GPT2):
        folder = Path(shutil.copytree(roomy_model, tmp_path / str(len(folders))))
        edit_json(folder / "tokenizer.json", pre_tokenizer=pre_tokenizer((regex,)))
        folders.append(folder)
    export_gguf(folders[0], None, tmp_path, ["Q8_0"])
    with pytest.raises(ModelError, match="other tokens than the model's tokenizer, from token"):
        require_same_tokens(tmp_path / "model.Q8_0.gguf", ModelFolder.open(folders[1]))


def test_nasty_strings_of_the_tiny_model_agree(tiny_model: Path, tmp_path: Path) -> None:
    export_gguf(tiny_model, None, tmp_path, ["Q8_0"])
    folder = ModelFolder.open(tiny_model)
    assert token_mismatches(tmp_path / "model.Q8_0.gguf", folder, NASTY) == []


def test_token_types_tell_control_from_markers(tiny_model: Path) -> None:
    vocabulary = read_vocabulary(ModelFolder.open(tiny_model), 400)
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert vocabulary.pre == "gpt-2"
    assert kinds["<|im_end|>"] == kinds["<|endoftext|>"] == CONTROL
    assert kinds["<tool_call>"] == kinds["</tool_call>"] == USER_DEFINED
    assert kinds["a"] == NORMAL
    assert kinds["[PAD399]"] == UNUSED
    assert vocabulary.tokens[vocabulary.eos] == "<|im_end|>"
    assert vocabulary.pad is not None
    assert vocabulary.tokens[vocabulary.pad] == "<|endoftext|>"
    assert (vocabulary.bos, vocabulary.add_bos, vocabulary.add_eos) == (None, False, False)


def test_a_beginning_that_the_tokenizer_adds_is_added(model_copy: Path, tmp_path: Path) -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0],
                                             "tokens": ["<|endoftext|>"]}},
    }  # fmt: skip
    bytes_first = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    both = {"type": "Sequence", "processors": [bytes_first, template]}
    edit_json(model_copy / "tokenizer.json", post_processor=both)
    edit_json(model_copy / "tokenizer_config.json", bos_token={"content": "<|endoftext|>"})
    vocabulary = read_vocabulary(ModelFolder.open(model_copy), 400)
    assert (vocabulary.bos, vocabulary.add_bos, vocabulary.add_eos) == (0, True, False)


def test_a_second_end_token_is_kept(model_copy: Path) -> None:
    edit_json(model_copy / "generation_config.json", eos_token_id=[2, 0])
    vocabulary = read_vocabulary(ModelFolder.open(model_copy), 400)
    assert (vocabulary.eos, vocabulary.other_ends) == (2, (0,))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pre_tokenizer": None}, "neither a byte-level BPE nor SentencePiece's"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "no pre-tokenizer like {'type': 'Metaspace'}"),
        ({"pre_tokenizer": pre_tokenizer(("(",))}, "has a bad pre-tokenizer"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "add_prefix_space"),
        ({"pre_tokenizer": pre_tokenizer((r"\w+",))}, "ignore_merges = False.; the nearest is"),
        ({"normalizer": {"type": "Lowercase"}}, "normalizer 'Lowercase'"),
        ({"model": {"type": "Unigram", "vocab": []}}, "Unigram model lacks unk_id"),
        ({"model": {"type": "BPE", "byte_fallback": True}}, "BPE model lacks vocab and merges"),
        ({"added_tokens": [{"id": 1, "content": "<m>", "lstrip": True}]}, "'<m>' sets lstrip"),
    ],
)
def test_a_tokenizer_that_llama_cpp_lacks_is_refused(
    model_copy: Path, changes: dict[str, Any], said: str
) -> None:
    edit_json(model_copy / "tokenizer.json", **changes)
    with pytest.raises(ModelError, match=said):
        read_vocabulary(ModelFolder.open(model_copy), 400)


def test_a_tokenizer_larger_than_the_embedding_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="only 100 rows"):
        read_vocabulary(ModelFolder.open(tiny_model), 100)


def test_a_model_without_an_end_token_is_refused(model_copy: Path) -> None:
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        edit_json(model_copy / name, eos_token=None, eos_token_id=None)
    with pytest.raises(ModelError, match="no eos token"):
        read_vocabulary(ModelFolder.open(model_copy), 400)


@pytest.mark.slow
def test_the_real_qwen_tokenizer_writes_the_published_ids(
    shared: Path, make_model: Folder, tmp_path: Path
) -> None:
    """llama.cpp's published vocabulary test: pieces of text and, line by line, their ids."""
    from edgetool.export.parity import _llama_tokenizer

    model = make_model("Qwen2", vocab_size=151936, hidden_size=64, num_hidden_layers=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    for file in (shared / "fixtures" / "qwen2.5-tokenizer").iterdir():
        shutil.copy(file, model)
    export_gguf(model, None, tmp_path, ["Q8_0"])
    vocabulary = shared / "fixtures" / "vocab" / "ggml-vocab-qwen2.gguf"
    texts = (
        vocabulary.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    )
    lines = vocabulary.with_suffix(".gguf.out").read_text().splitlines()
    expected = [[int(number) for number in line.split()] for line in lines]
    with _llama_tokenizer(tmp_path / "model.Q8_0.gguf") as encode:
        assert [encode(text) for text in texts[: len(expected)]] == expected


PUBLISHED = {"gpt-2": ((pretokenizers.GPT2,), False), "llama-bpe": ((pretokenizers.LLAMA3,), True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_byte_level_vocabularies_write_the_published_ids(
    shared: Path, make_model: Folder, tmp_path: Path, name: str
) -> None:
    from gguf import GGUFReader

    from edgetool.export.parity import _llama_tokenizer

    source = shared / "fixtures" / "vocab" / f"ggml-vocab-{name}.gguf"
    fields = GGUFReader(source).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    regexes, ignore_merges = PUBLISHED[name]
    added = [
        {"id": number, "content": text, "special": types[number] == CONTROL}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, text in enumerate(tokens)
        if types[number] in (CONTROL, USER_DEFINED)
    ]
    plain = {text: n for n, text in enumerate(tokens) if types[n] == NORMAL}
    model = {
        "type": "BPE", "vocab": plain, "ignore_merges": ignore_merges,
        "merges": fields["tokenizer.ggml.merges"].contents(),
    }  # fmt: skip
    content = {"version": "1.0", "added_tokens": added, "model": model}
    folder = make_model("Qwen2", vocab_size=len(tokens), hidden_size=32, num_hidden_layers=1)
    (folder / "tokenizer.json").write_text(
        json.dumps(content | {"pre_tokenizer": pre_tokenizer(regexes)}), encoding="utf-8"
    )
    export_gguf(folder, None, tmp_path, ["F16"])
    texts = source.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = source.with_suffix(".gguf.out").read_text().splitlines()
    expected = [[int(number) for number in line.split()] for line in lines]
    with _llama_tokenizer(tmp_path / "model.F16.gguf") as encode:
        assert [encode(text) for text in texts[: len(expected)]] == expected
