"""llama.cpp's kinds of pre-tokenizers: told apart by what they do, over every kind of character."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from edgetool.errors import ModelError
from edgetool.export.export import export_gguf
from edgetool.export.model_folder import ModelFolder
from edgetool.export.parity import token_mismatches
from edgetool.export.tokenizer.pretokenizers import recognise
from edgetool.export.tokenizer.probes import KINDS, every_three
from edgetool.gguf_base.pretokenizers import GPT2, KNOWN, LLAMA3, QWEN2
from tests.export.conftest import Folder, edit_json
from tests.export.test_vocabulary import pre_tokenizer

ROWS = 32768


@pytest.fixture(scope="module")
def word_for_every_three(make_model: Folder) -> Path:
    """A model with a token for almost every three kinds of characters in a row, so that a border
    drawn anywhere between them gives other tokens."""
    folder = make_model(
        "Qwen2", vocab_size=ROWS, hidden_size=32, num_hidden_layers=1,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 1, min_frequency=1, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(map("".join, product(KINDS, repeat=3)), trainer)
    tokenizer.add_special_tokens(["<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "name"), list(KNOWN.items()), ids=str)
def test_llama_cpp_draws_the_same_border_between_any_three_kinds_of_characters(
    word_for_every_three: Path, tmp_path: Path, rule: tuple[tuple[str, ...], bool], name: str
) -> None:
    regexes, ignore_merges = rule
    folder = Path(shutil.copytree(word_for_every_three, tmp_path / "model"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["ignore_merges"] = ignore_merges
    edit_json(
        folder / "tokenizer.json", model=content["model"], pre_tokenizer=pre_tokenizer(regexes)
    )
    [file] = export_gguf(folder, None, tmp_path, ["F16"])
    assert token_mismatches(file.path, ModelFolder.open(folder), every_three()) == []


def with_steps(*steps: dict[str, Any], ignore_merges: bool = False) -> dict[str, Any]:
    last = pre_tokenizer(())["pretokenizers"]
    return {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, *last]},
        "model": {"type": "BPE", "ignore_merges": ignore_merges},
    }


def split(regex: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {
        "type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert,
    }  # fmt: skip


GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ((split(GPT4),), "smaug-bpe"),  # \s* takes all but the last newline, so + is no other
        ((split(GPT4.replace("{1,3}", ""), "Removed", invert=True),), "qwen2"),
        (({"type": "Digits", "individual_digits": True}, split(GPT2)), "smollm"),
    ],
)
def test_another_spelling_of_the_same_cuts_is_known(
    steps: tuple[dict[str, Any], ...], name: str
) -> None:
    assert recognise(with_steps(*steps), "here") == name


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        # "  1": the digits are cut off first, so both spaces end a piece and stay together.
        ((split(r"\p{N}"), split(QWEN2)), r"the nearest is .*instead of \['  ', '1'"),
        # Only where a text ends in an "a".
        ((split(r"a+$"), split(QWEN2)), r"the nearest is qwen2: \['Za'\] instead of \['Z', 'a'\]"),
        # Its last words are gone: the shorter cut is the beginning of the longer one.
        ((split(r"\s+\z", "Removed"), split(QWEN2)), r"instead of \[\]"),
        # Everything but digits is dropped, where "smollm" sets digits apart.
        ((split(r"\p{N}", "Removed", invert=True), split(GPT2)), "instead of"),
        ((split(LLAMA3.replace("{1,3}", "{1,2}")),), "the nearest is smaug-bpe"),
    ],
)
def test_cuts_that_llama_cpp_does_not_make_are_refused(
    steps: tuple[dict[str, Any], ...], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        recognise(with_steps(*steps), "here")
