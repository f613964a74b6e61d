#!/usr/bin/env python3
"""Eight requests at once: our engine against llama-server, behind the same front.

    scripts/bench/serving.py MODEL.gguf [--bfcl FOLDER] [--rows 32] [--rounds 5] [--out FILE.json]

Both engines write the same prompts from the same file with as many threads, greedy and with the
same max_tokens: free, and held to a call of the row's tools. They take turns, round by round, and
one waits while the other writes; the first round of each is not counted. Rows whose tools
llama.cpp's grammar cannot hold are left out, before the clock starts.

llama-server is the one on PATH, or EDGETOOL_LLAMA_SERVER. It is asked as `edgetool serve --engine
llama-server` asks it, so that both have a process of ours before them; neither has the HTTP front.
From the second round on, prompts are mostly in a cache, in either engine as far as it keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.calls import syntaxes  # noqa: E402
from edgetool.calls.syntaxes import CallSyntax  # noqa: E402
from edgetool.calls.types import Example  # noqa: E402
from edgetool.data import bfcl, demo  # noqa: E402
from edgetool.errors import UsageError  # noqa: E402
from edgetool.files import sha256_of, write_text  # noqa: E402
from edgetool.llama.client import WorkerClient  # noqa: E402
from edgetool.llama.llama_server import BINARY, find_binary, grammar_of  # noqa: E402
from edgetool.llama.protocol import REQUIRED, Done, Job  # noqa: E402
from edgetool.runtime import Sampling  # noqa: E402
from edgetool.system import cores, machine, versions  # noqa: E402

TOGETHER = 8
ARMS = ("free", "constrained")
OURS = "ours"


@dataclass
class Measured:
    """What one engine did in one arm: seconds of each round, and its completions of the last."""

    seconds: list[float] = field(default_factory=list)
    written: list[Done] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        tokens = sum(len(done.completion.token_ids) for done in self.written)
        median = statistics.median(self.seconds)
        return {
            "seconds": self.seconds,
            "tokens": tokens,
            "passes": sum(done.passes for done in self.written),
            "tokens_per_s": tokens / median,
            "requests_per_s": len(self.written) / median,
            "finished": sum(done.completion.finished for done in self.written),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--bfcl", type=Path, help="a folder with BFCL's rows")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = bfcl.load(asked.bfcl, "multiple") if asked.bfcl else demo.examples("validation", None)
    found = {
        "model": asked.model.name,
        "model_sha256": sha256_of(asked.model),
        "data": "bfcl:multiple" if asked.bfcl else "demo:validation",
        "at_once": TOGETHER,
        "threads": asked.threads,
        "max_tokens": asked.max_tokens,
        "rounds": asked.rounds,
        **asyncio.run(compare(asked, [row for row in rows if row.calls])),
        "machine": machine(),
        "versions": {**versions(), BINARY: version_of(find_binary())},
    }
    print(json.dumps(found, indent=1))
    if asked.out:
        write_text(asked.out, json.dumps(found, indent=1) + "\n")


def version_of(binary: Path) -> str:
    """The line in which llama-server tells its version."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    lines = (said.stdout + said.stderr).splitlines()
    return next((line for line in lines if line.startswith("version")), "unknown")


async def compare(asked: argparse.Namespace, rows: Sequence[Example]) -> dict[str, Any]:
    """Both engines side by side in memory, one at a time at work."""
    sizes = {"context": asked.context, "threads": asked.threads, "sequences": TOGETHER}
    with (
        WorkerClient(asked.model, **sizes, waiting=asked.rows) as ours,
        WorkerClient(asked.model, **sizes, waiting=asked.rows, binary=find_binary()) as theirs,
    ):
        held = holdable(rows, syntaxes.get(ours.syntax), asked.max_tokens)[: asked.rows]
        engines = {OURS: ours, BINARY: theirs}
        return {
            "rows": len(held),
            "arms": {arm: await turns(engines, held, arm, asked) for arm in ARMS},
        }


def holdable(rows: Sequence[Example], syntax: CallSyntax, length: int) -> list[Example]:
    """Rows whose tools both grammars can hold."""
    kept = []
    for row in rows:
        try:
            grammar_of(job_of(row, "constrained", length), syntax)
        except UsageError:
            continue
        kept.append(row)
    return kept


def job_of(row: Example, arm: str, length: int) -> Job:
    sampling = Sampling(max_completion_length=length)
    return Job(row.messages, row.tools, sampling, choice=REQUIRED, constrained=arm != "free")


async def turns(
    engines: dict[str, WorkerClient], rows: Sequence[Example], arm: str, asked: argparse.Namespace
) -> dict[str, Any]:
    """Rounds of one arm, the engines taking turns."""
    jobs = [job_of(row, arm, asked.max_tokens) for row in rows]
    measured = {name: Measured() for name in engines}
    for number in range(asked.rounds + 1):
        for name in list(engines) if number % 2 else reversed(engines):
            started = time.perf_counter()
            measured[name].written = await at_once(engines[name], jobs)
            if number:  # in the first, grammars are compiled and the file is read in
                measured[name].seconds.append(time.perf_counter() - started)
    sides = {name: one.summary() for name, one in measured.items()}
    ours, theirs = measured[OURS].written, measured[BINARY].written
    pairs = list(zip(ours, theirs, strict=True))
    return {
        **sides,
        "tokens_per_s_ratio": sides[OURS]["tokens_per_s"] / sides[BINARY]["tokens_per_s"],
        "requests_per_s_ratio": sides[OURS]["requests_per_s"] / sides[BINARY]["requests_per_s"],
        "same_prompt_length": sum(a.prompt_tokens == b.prompt_tokens for a, b in pairs),
        "same_text": sum(a.completion.text == b.completion.text for a, b in pairs),
    }


async def at_once(writer: WorkerClient, jobs: Sequence[Job]) -> list[Done]:
    """The ends of all jobs, TOGETHER of them on their way at any time."""
    gate = asyncio.Semaphore(TOGETHER)

    async def one(job: Job) -> Done:
        async with gate:
            async for event in writer.write(job):
                if isinstance(event, Done):
                    return event
        raise RuntimeError("a job had no end")

    return list(await asyncio.gather(*(one(job) for job in jobs)))


if __name__ == "__main__":
    main()
