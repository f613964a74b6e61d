"""Make a model with random weights and a tokenizer whose word "w7" is token 7. A benchmark's child.

random_model.py FOLDER '{"model_type": "qwen2", "hidden_size": 512, ..., "dtype": "float32"}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.bench.sides import PAD, STOP

TEMPLATE = (
    "{% for message in messages %}{{ message.content }} {% endfor %}"
    "{# <tool_call> is how it would call #}"
)


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    dtype = getattr(torch, settings.pop("dtype", "float32"))
    settings = {"model_type": "qwen2", **settings}
    ends = {"eos_token_id": STOP, "pad_token_id": PAD, "bos_token_id": None}
    config = AutoConfig.for_model(**settings, **ends)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    model = AutoModelForCausalLM.from_config(config)
    print(f"{folder.name}: {model.num_parameters():,} parameters", file=sys.stderr)
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(STOP + 1, config.vocab_size)}
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
