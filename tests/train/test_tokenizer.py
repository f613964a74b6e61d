"""The policy's tokens are the file's own, so that they are llama.cpp's too."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from edgetool.catalogue import locate
from edgetool.train.load import load_tokenizer

# Numbers are where a model type's usual pre-tokenizer and a file's own one part ways.
TEXTS = [
    "table for 12 on 2026-11-22",
    "3.14 1000000",
    "don't  stop\n\nnow",
    "Zürich 東京 🚀",
    "a1b22c333",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_cut_as_tokenizer_json_says(text):
    folder = locate("nano")
    own = Tokenizer.from_file(f"{folder}/tokenizer.json").encode(text, add_special_tokens=False).ids
    assert load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"] == own
