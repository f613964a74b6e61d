#!/usr/bin/env python3
"""How fast an evaluation is, against the plain loop one would write first.

    scripts/bench/eval.py model.Q8_0.gguf BFCL_FOLDER [--rows 400] [--out measured/eval.json]

The plain loop calls llama-cpp-python's create_completion on the same prompt ids, row after row,
with its own defaults; ours is what `edgetool eval` runs, the start of its processes included. Both
decode greedily in the free arm; the constrained arm is timed as well. Outputs are compared by text.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.calls.types import Example  # noqa: E402
from edgetool.data import bfcl  # noqa: E402
from edgetool.files import write_text  # noqa: E402
from edgetool.llama.pool import PoolRuntime  # noqa: E402
from edgetool.llama.session import LlamaSession  # noqa: E402
from edgetool.runtime import CONSTRAINED, FREE, Completion, Sampling, in_order  # noqa: E402
from edgetool.system import machine, versions  # noqa: E402

SAMPLING = Sampling(max_completion_length=128)
CONTEXT = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("bfcl", type=Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--plain-rows", type=int, default=None, help="fewer for the plain loop")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = bfcl.load(asked.bfcl, "simple_python")[: asked.rows]
    started = time.perf_counter()
    with PoolRuntime(asked.model) as runtime:
        loaded = time.perf_counter() - started
        free, free_seconds = ours(runtime, rows, FREE)
        _, held_seconds = ours(runtime, rows, CONSTRAINED)
    some = rows[: asked.plain_rows]
    texts, plain_seconds = plain(asked.model, some)
    same = sum(text == done.text for text, done in zip(texts, free, strict=False))
    found = {
        "rows": len(rows),
        "plain_rows": len(some),
        "load_seconds": loaded,
        "free_seconds": free_seconds,
        "constrained_seconds": held_seconds,
        "both_arms_seconds": loaded + free_seconds + held_seconds,
        "plain_seconds": plain_seconds,
        "rows_per_second": len(rows) / (loaded + free_seconds),
        "plain_rows_per_second": len(some) / plain_seconds,
        "ratio": len(rows) / (loaded + free_seconds) / (len(some) / plain_seconds),
        "same_outputs": same,
        "machine": machine(),
        "versions": versions(),
    }
    print(json.dumps(found, indent=1))
    if asked.out:
        write_text(asked.out, json.dumps(found, indent=1) + "\n")


def ours(runtime: PoolRuntime, rows: list[Example], arm: str) -> tuple[list[Completion], float]:
    started = time.perf_counter()
    made = in_order(runtime.generate(rows, SAMPLING, arm))
    return made, time.perf_counter() - started


def plain(model: Path, rows: list[Example]) -> tuple[list[str], float]:
    """Texts and seconds of the loop; making the prompts and loading the model are not counted."""
    import llama_cpp

    with LlamaSession(model, context=CONTEXT) as session:
        prompts = [session.prompter.ids(row.messages, row.tools) for row in rows]
    llama = llama_cpp.Llama(str(model), n_ctx=CONTEXT, verbose=False)
    started = time.perf_counter()
    texts = [_complete(llama, prompt) for prompt in prompts]
    return texts, time.perf_counter() - started


def _complete(llama: Any, prompt: list[int]) -> str:
    length = SAMPLING.max_completion_length
    done = llama.create_completion(prompt, max_tokens=length, temperature=0.0)
    return str(done["choices"][0]["text"])


if __name__ == "__main__":
    main()
