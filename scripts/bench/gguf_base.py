"""Torch on a GGUF file's weights against llama.cpp on the file: logits, on the same prompts.

    python -m scripts.bench.gguf_base --json scripts/bench/measured/gguf_base.json

Two real files, one of them with its weights expanded as well, and nano in every type that can be
trained on. The weights are the same to the last bit (tests/train/test_dequantize.py). What is left
is llama.cpp's arithmetic: it multiplies quantized matrices with activations rounded to 8 bits, and
keeps keys and values in 16.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from edgetool.catalogue import NANO, locate
from edgetool.data import demo
from edgetool.export.export import export_gguf
from edgetool.export.gguf.quantize import Quant
from edgetool.export.parity import llama_logits, summarize
from edgetool.gguf_base.config import READABLE
from edgetool.gguf_base.reader import read_gguf
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.policy import Policy
from scripts import real_model
from scripts.bench import sides

PROMPTS = 300
EXPANDED = "smollm2, expanded"  # the same values as floats: all but the rounding of activations
ALL = ("smollm2", EXPANDED, "gemma3", NANO)
TEMPLATES = {"gemma3": "gemma"}  # for a file that has none


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows = [row for row in _earlier(options.json) if row["model"] not in options.only]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            for path in _files(name, Path(folder)):
                rows.append(_row(name, path, options.prompts))
                print(rows[-1], flush=True)
                if options.json:
                    sides.write_json(options.json, rows)


def _earlier(file: Path | None) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else []


def _files(name: str, folder: Path) -> Iterator[Path]:
    if name == NANO:
        yield from (nano_in(kind, folder) for kind in READABLE)
    elif name == EXPANDED:
        yield export_gguf(real_model.gguf_file("smollm2"), None, folder, ["F32"])[0].path
    else:
        yield real_model.gguf_file(name)


def nano_in(kind: str, folder: Path) -> Path:
    """nano with every matrix in one type."""
    base = Path(locate(NANO))
    (whole,) = export_gguf(base, None, folder, ["F32"], stem="whole")
    tensors = read_gguf(whole.path).tensors.values()
    types = {tensor.name: kind if len(tensor.shape) > 1 else "F32" for tensor in tensors}
    (file,) = export_gguf(base, None, folder, [Quant(kind, 0, kind, types=types)], stem=NANO)
    return file.path


def _row(name: str, path: Path, count: int) -> dict[str, Any]:
    """The largest difference of a logit, and how often the likeliest token is the same."""
    policy = load_policy(
        path, None, LoadSettings(load_in_4bit=False, bf16=False, template=TEMPLATES.get(name))
    )
    examples = demo.examples("train", count)
    prompts = [policy.prompter.ids(example.messages, ()) for example in examples]
    same_next = []

    def pairs() -> Iterator[tuple[Any, Any]]:
        for ours, theirs in zip(_logits(policy, prompts), llama_logits(path, prompts), strict=True):
            same_next.append(int(ours[-1].argmax()) == int(theirs[-1].argmax()))
            yield ours, theirs

    found = summarize(pairs())
    kinds = sorted({tensor.kind for tensor in read_gguf(path).tensors.values()})
    return {
        "model": name,
        "file": path.name,
        "types": kinds,
        "prompts": len(prompts),
        **found.as_json(),
        "same_next_token": sum(same_next) / len(same_next),
        "device": f"CPU, {platform.machine()}",
        "date": datetime.date.today().isoformat(),
    }


def _logits(policy: Policy, prompts: Sequence[Sequence[int]]) -> Iterator[Any]:
    with policy.decoding() as network:
        for prompt in prompts:
            hidden = network.hidden(torch.tensor([list(prompt)])).last_hidden_state[0]
            yield network.logits(hidden).numpy()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=ALL, help="may be repeated")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    options.only = options.only or ALL
    return options


if __name__ == "__main__":
    main()
