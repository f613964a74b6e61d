"""nano's tokenizer: a byte-level BPE in which a word is spelled alike wherever it stands.

Copying is the hard part for a small model. With the usual leading-space merges ' Chet' in a request
and '"Chet' in JSON are different tokens, and copying means translating. Here no merge joins a space
to a letter, so both are the same tokens. The pre-tokenizer is still Qwen2's, which llama.cpp knows
and which transformers gives every `qwen2` folder; it cuts numbers into digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from edgetool.gguf_base.pretokenizers import QWEN2

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = ("<tool_call>", "</tool_call>")


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    qwen2 = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    # Qwen2's expression keeps one other character before a word with the word.
    apart = pre_tokenizers.Split(Regex(r"^[^\p{L}\p{N}](?=\p{L})"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([qwen2, apart, letters])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS),
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([qwen2, letters])
    tokenizer.add_tokens([AddedToken(marker, special=False) for marker in MARKERS])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": context,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
