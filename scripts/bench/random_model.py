"""Make a model with random weights. A benchmark's child.

random_model.py FOLDER '{"model_type": "qwen2", "hidden_size": 512, ..., "dtype": "float32"}'
    [--tokenizer FOLDER]

Its tokenizer is the one of --tokenizer, chat template included, or one whose word "w7" is token 7.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from scripts.bench.sides import PAD, STOP

TEMPLATE = (
    "{{ tools | tojson if tools }}"
    "{% for message in messages %}{{ message.content }} {% endfor %}"
    "{# <tool_call> is how it would call #}"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--tokenizer", type=Path)
    asked = parser.parse_args()
    folder, settings = asked.folder, asked.settings
    dtype = getattr(torch, settings.pop("dtype", "float32"))
    settings = {"model_type": "qwen2", **settings}
    ends = {"eos_token_id": STOP, "pad_token_id": PAD, "bos_token_id": None}
    if asked.tokenizer:
        real = AutoTokenizer.from_pretrained(asked.tokenizer)
        real.save_pretrained(folder)
        ends = {"eos_token_id": real.eos_token_id, "pad_token_id": real.pad_token_id}
    config = AutoConfig.for_model(**settings, **ends)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    model = AutoModelForCausalLM.from_config(config)
    print(f"{folder.name}: {model.num_parameters():,} parameters", file=sys.stderr)
    model.save_pretrained(folder)
    if not asked.tokenizer:
        _numbered(folder, config.vocab_size)


def _numbered(folder: Path, vocab_size: int) -> None:
    words = {f"w{number}": number for number in range(STOP + 1, vocab_size)}
    # No word begins like these two, or they would be cut out of it.
    words |= {"<pad>": PAD, "<stop>": STOP}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    kept = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<stop>",
        "pad_token": "<pad>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
