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
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from scripts.nano import batches, copying, pretrain, rows, tokenizer  # noqa: E402

TEMPLATE = ROOT / "models" / "nano" / "chat_template.jinja"
VOCAB_SIZE = 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the training, 1 = all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    build(options.out, options.scale, options.seed)


def build(out: Path, scale: float, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    log = out / "training.jsonl"
    log.unlink(missing_ok=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    words = tokenizer.train(corpus(template, seed), VOCAB_SIZE)
    tokenizer.save(words, out, pretrain.CONTEXT)
    if out != TEMPLATE.parent:
        shutil.copy(TEMPLATE, out)
    model = pretrain.new_model(
        words.get_vocab_size(), words.token_to_id("<|im_end|>"), words.token_to_id("<|endoftext|>")
    )
    copying.lay_out_copying(model, torch.Generator().manual_seed(seed))
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)

    def save(step: int) -> None:
        copy.deepcopy(model).to(torch.float16).save_pretrained(out)

    packer = batches.Packer(words, template)
    pretrain.pretrain(model, pretrain.curriculum(packer, seed, scale), log, save)


def corpus(template: str, seed: int) -> Iterator[str]:
    """Requests and answers, and now and then the tools, so that merges serve all three."""
    packer = batches.Packer(tokenizer.train([], 300), template)
    sources = [(0.7, rows.SnipsGroups(6)), (0.3, rows.SyntheticGroups(6))]
    for i, group in enumerate(itertools.islice(rows.endless(sources, seed), 3000)):
        for request in group.requests:
            yield request.text
            yield batches.answer_text(request.call)
        if i % 7 == 0:
            yield packer.tools_text(group.tools)


if __name__ == "__main__":
    main()
