#!/usr/bin/env python3
"""Build models/nano, the embedded default model, from nothing but the bundled demo rows.

    scripts/build_nano.py --out build/nano            # about an hour and a half on two cores
    scripts/build_nano.py --out build/trial --scale 0.02

Seeded: the same machine and thread count give the same weights. The log of the run
(step, loss, seconds) is written beside them and kept in models/nano/training.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import Qwen2ForCausalLM  # noqa: E402

from edgetool.files import read_log  # noqa: E402
from scripts.nano import batches, copying, pretrain, rows, tokenizer  # noqa: E402

TEMPLATE = ROOT / "models" / "nano" / "chat_template.jinja"
VOCAB_SIZE = 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the training, 1 = all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from what --out holds")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    template = TEMPLATE.read_text(encoding="utf-8")
    begin = 0
    if options.resume:
        begin = saved_steps(options.out)
        model = Qwen2ForCausalLM.from_pretrained(options.out, dtype=torch.float32)
        words = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    else:
        model, words = start(options.out, template, options.seed)
    print(f"{model.num_parameters():,} parameters, step {begin}", flush=True)

    def save() -> None:
        copy.deepcopy(model).to(torch.float16).save_pretrained(options.out)

    stages = pretrain.curriculum(batches.Packer(words, template), options.seed, options.scale)
    pretrain.pretrain(model, stages, options.out / "training.jsonl", save, begin)


def start(out: Path, template: str, seed: int) -> tuple[Qwen2ForCausalLM, Tokenizer]:
    """A new model and its tokenizer; everything but the weights is written to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "training.jsonl").unlink(missing_ok=True)
    words = tokenizer.train(corpus(template, seed), VOCAB_SIZE)
    tokenizer.save(words, out, pretrain.CONTEXT)
    if out != TEMPLATE.parent:
        shutil.copy(TEMPLATE, out)
    model = pretrain.new_model(
        words.get_vocab_size(), words.token_to_id("<|im_end|>"), words.token_to_id("<|endoftext|>")
    )
    copying.lay_out_copying(model, torch.Generator().manual_seed(seed))
    return model, words


def saved_steps(out: Path) -> int:
    """The step of the weights in `out`; lines of the log behind it are dropped."""
    log = out / "training.jsonl"
    rows = read_log(log)
    saved = rows[-1]["step"] // pretrain.SAVE_STEPS * pretrain.SAVE_STEPS
    kept = [json.dumps(row) + "\n" for row in rows if row["step"] <= saved]
    log.write_text("".join(kept), encoding="utf-8")
    return int(saved)


def corpus(template: str, seed: int) -> Iterator[str]:
    """Requests and answers, and now and then the tools, so that merges serve all three."""
    packer = batches.Packer(tokenizer.train([], 300), template)
    sources = [(0.7, rows.SnipsGroups(6)), (0.3, rows.SyntheticGroups(6))]
    for i, group in enumerate(itertools.islice(rows.endless(sources, seed), 3000)):
        for request in group.requests:
            yield request.text
            yield request.answer
        if i % 7 == 0:
            yield packer.tools_text(group.tools)


if __name__ == "__main__":
    main()
