#!/usr/bin/env python3
"""An adapter to a GGUF file, ours against the usual way: seconds, peak memory, bytes written.

    pip download --no-binary :all: --no-deps llama-cpp-python==0.3.36    # unpack it
    scripts/bench/export.py .../vendor/llama.cpp/convert_hf_to_gguf.py QWEN_TOKENIZER_FOLDER

The usual way: peft merges into the 16-bit base and transformers saves it, llama.cpp's converter
writes an F16 GGUF of that, llama_model_quantize the final file. Ours does the same job in one pass
(`merge_into base`), and its default one (`nf4`, the weights a QLoRA policy computed with) besides;
its token check, hashes and flushes to disk are part of it. The model has random weights in the
shape of a card, a LoRA of rank 16 on every linear layer, and Qwen2.5's tokenizer, since the
converter refuses those that it does not know. Every step is a process of its own, imports included.
Peak memory is the largest step's ru_maxrss, to which pages of mapped files count. Bytes are the
sizes of all files put on disk, later ones beside earlier ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench import sides

SIDE = sides.HERE / "export_side.py"
CARD = "qwen2.5-1.5b-instruct"
SITE = sides.BUILD / "export" / "site"
NEEDED = "sentencepiece==0.2.3"  # the converter imports it whatever the tokenizer is
PACKAGES = ("torch", "transformers", "peft", "gguf", "llama-cpp-python")


def main() -> None:
    options = _options()
    work = sides.BUILD / "export" / (f"{options.card}-{options.layers or 'all'}")
    try:
        _install()
        base, adapter = _model(work, options)
        runs: dict[str, list[Way]] = {"usual": [], "ours": [], "ours_nf4": []}
        for _ in range(options.repeats):
            runs["usual"].append(_usual(work, base, adapter, options))
            runs["ours"].append(_ours(work, base, adapter, options.quant, "base"))
            runs["ours_nf4"].append(_ours(work, base, adapter, options.quant, "nf4"))
    except sides.Failed as error:
        sys.exit(f"export: {error}")
    found = _found(runs, options)
    print(json.dumps(found, indent=1))
    sides.write_json(options.json, found)


@dataclass
class Way:
    """What one run of one way took: of all its steps together, and of each.

    written   bytes
    """

    out: Path
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    written: int = 0

    def step(self, name: str, *command: str | Path) -> None:
        """Run a step in a child. Raises Failed with its last words."""
        seconds, peak = _run([str(part) for part in command], self.out / f"{name}.log")
        self.steps[name] = {"seconds": round(seconds, 2), "peak_mib": round(peak)}

    @property
    def seconds(self) -> float:
        return sum(step["seconds"] for step in self.steps.values())

    @property
    def peak_mib(self) -> float:
        return max(step["peak_mib"] for step in self.steps.values())


def _usual(work: Path, base: Path, adapter: Path, options: argparse.Namespace) -> Way:
    way = _begin(work / "usual")
    merged, f16, final = way.out / "merged", way.out / "f16.gguf", way.out / "final.gguf"
    converter = [options.converter, merged, "--outtype", "f16", "--outfile", f16]
    way.step("merge", sys.executable, SIDE, "merge", base, adapter, merged)
    way.step("convert", sys.executable, *converter)
    way.step("quantize", sys.executable, SIDE, "quantize", f16, final, options.quant)
    return _end(way)


def _ours(work: Path, base: Path, adapter: Path, quant: str, merge_into: str) -> Way:
    way = _begin(work / "ours")
    way.step("export", sys.executable, SIDE, "ours", base, adapter, way.out, quant, merge_into)
    return _end(way)


def _begin(out: Path) -> Way:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return Way(out)


def _end(way: Way) -> Way:
    kept = [file for file in way.out.rglob("*") if file.is_file() and file.suffix != ".log"]
    way.written = sum(file.stat().st_size for file in kept)
    return way


def _run(command: list[str], log: Path) -> tuple[float, float]:
    """Seconds and peak resident MiB of a command."""
    paths = os.pathsep.join((str(sides.ROOT), str(SITE)))
    places = {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    with log.open("wb") as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **places})
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-6:]
        raise sides.Failed(f"{' '.join(command[1:3])}: {' | '.join(last)}")
    return seconds, usage.ru_maxrss / 1024


def _install() -> None:
    """What the converter needs and we do not, in a folder of its own."""
    if not SITE.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*pip, str(SITE), NEEDED], check=True)


def _model(work: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    base, adapter = work / "base", work / "adapter"
    if not (base / "tokenizer.json").is_file():
        shape = _shape(options.card, options.layers)
        work.mkdir(parents=True, exist_ok=True)
        make = [sys.executable, SIDE, "make", base, adapter, options.tokenizer, json.dumps(shape)]
        _run([str(part) for part in make], work / "make.log")
    return base, adapter


def _shape(card: str, layers: int | None) -> dict[str, Any]:
    text = (sides.ROOT / "models" / f"{card}.yaml").read_text(encoding="utf-8")
    shape: dict[str, Any] = yaml.safe_load(text)["shape"]
    shape.pop("torch_dtype", None)
    return shape | ({"num_hidden_layers": layers} if layers else {})


def _found(runs: dict[str, list[Way]], options: argparse.Namespace) -> dict[str, Any]:
    from edgetool.system import (
        machine,  # after the children's peaks
        versions,  # after the children's peaks
    )

    told = {name: _middle(ways) for name, ways in runs.items()}
    usual = told["usual"]
    parts = ("seconds", "peak_mib", "bytes_written")
    ratios = {
        name: {part: round(told[name][part] / usual[part], 3) for part in parts}
        for name in ("ours", "ours_nf4")
    }
    installed = {name: version for name, version in versions().items() if name in PACKAGES}
    return {
        "card": options.card,
        "layers": options.layers or "all",
        "quant": options.quant,
        "repeats": options.repeats,
        **told,
        "of_the_usual": ratios,
        "machine": machine(),
        "versions": installed,
    }


def _middle(ways: list[Way]) -> dict[str, Any]:
    """The run that took the middle time."""
    way = sorted(ways, key=lambda each: each.seconds)[len(ways) // 2]
    return {
        "seconds": round(way.seconds, 2),
        "peak_mib": way.peak_mib,
        "bytes_written": way.written,
        "steps": way.steps,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py")
    parser.add_argument("tokenizer", type=Path, help="a folder with Qwen2.5's tokenizer")
    parser.add_argument("--card", default=CARD, help="a card of models/, for its shape")
    parser.add_argument("--layers", type=int, help="fewer than the card's, to try it out")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
