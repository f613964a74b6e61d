#!/usr/bin/env python3
"""How fast one call is written: free, by two grammars, and as a server of ours does it.

    scripts/bench/decode.py MODEL.gguf [--bfcl FOLDER] [--rows 60] [--replay] [--out FILE.json]

All arms run in the same loop on the same engine, one after another for each row, so that only what
they differ in is timed: what chooses the next token, and how many tokens go through the model at
once. Rows are the bundled validation rows, or BFCL's `multiple` with --bfcl. The clock starts at
the first token.

--replay writes the rows' right answers instead of what the model would say: with random weights the
length of a completion means nothing, but what it costs to write a given one is measured all right.

Also measured: the time to the first token of a long prompt with its tools read from nothing and
taken from disk, and eight requests at once against the same eight one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from edgetool.calls.types import Example, ToolCall  # noqa: E402
from edgetool.data import bfcl, demo  # noqa: E402
from edgetool.errors import EngineError  # noqa: E402
from edgetool.files import write_text  # noqa: E402
from edgetool.grammar.gbnf import GBNFMaker  # noqa: E402
from edgetool.grammar.llguidance import Counting, for_llama  # noqa: E402
from edgetool.llama.client import WorkerClient  # noqa: E402
from edgetool.llama.generate import BatchGenerator  # noqa: E402
from edgetool.llama.prompt_cache import folder_of, prefill  # noqa: E402
from edgetool.llama.prompt_lookup import PromptLookup, words_of  # noqa: E402
from edgetool.llama.protocol import Job  # noqa: E402
from edgetool.llama.session import LlamaSession  # noqa: E402
from edgetool.runtime import Completion, Constraint, Sampling  # noqa: E402
from edgetool.system import machine, versions  # noqa: E402

SAMPLING = Sampling(max_completion_length=256)
TOGETHER = 8
LONG = 800  # tokens of a prompt whose tools are worth keeping
ARMS = ("free", "gbnf", "llguidance", "forced", "drafted")


class Replay(Counting):
    """Says which token comes next of a given text, on top of another constraint's work."""

    def __init__(self, session: LlamaSession, text: str, inner: Constraint | None) -> None:
        super().__init__()
        self._encode, self._vocabulary = session.prompter.encode, session.vocabulary
        self._inner, self._remaining = inner, text.encode()
        self._stops = sorted(session.vocabulary.stop_ids)

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        allowed = self._inner.mask(logits) if self._inner is not None else logits
        tokens = self._encode(self._remaining.decode())[:1] if self._remaining else self._stops
        token = next((token for token in tokens if np.isfinite(allowed[token])), None)
        if token is None:
            raise EngineError("the right answer is not in the grammar")
        wanted = np.full_like(logits, -np.inf)
        wanted[token] = 0
        return wanted

    def advance(self, token: int, remaining: int) -> int:
        self._take(token)
        return self._inner.advance(token, remaining) if self._inner is not None else token

    def forced_next(self, remaining: int) -> list[int]:
        found = self._inner.forced_next(remaining) if self._inner is not None else []
        for token in found:
            self._take(token)
        self.forced += len(found)
        return found

    def _take(self, token: int) -> None:
        piece = self._vocabulary.pieces[token]
        if not self._remaining.startswith(piece):
            raise EngineError("the grammar forces something else than the right answer")
        self._remaining = self._remaining[len(piece) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--bfcl", type=Path, help="a folder with BFCL's rows")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = bfcl.load(asked.bfcl, "multiple") if asked.bfcl else demo.examples("validation", None)
    rows = [row for row in rows if row.calls][: asked.rows]
    found = {
        "model": asked.model.name,
        "rows": len(rows),
        "data": "bfcl:multiple" if asked.bfcl else "demo:validation",
        "replayed": asked.replay,
        "arms": arms(asked.model, rows, replay=asked.replay),
        "warm": warm(asked.model, rows),
        "together": together(asked.model, rows),
        "machine": machine(),
        "versions": versions(),
    }
    print(json.dumps(found, indent=1))
    if asked.out:
        write_text(asked.out, json.dumps(found, indent=1) + "\n")


def arms(path: Path, rows: Sequence[Example], *, replay: bool) -> dict[str, Any]:
    """Per arm: medians and sums over the rows that every arm could write."""
    with LlamaSession(path) as session:
        held, gbnf = for_llama(session), GBNFMaker(session)
        makers: dict[str, Callable[[Example], Constraint | None]] = {
            "free": lambda row: None,
            "gbnf": lambda row: gbnf(row.tools),
            "llguidance": lambda row: held(row.tools),
            "forced": lambda row: held(row.tools),
            "drafted": lambda row: held(row.tools),
        }
        written: dict[str, list[tuple[float, int, int, str]]] = {arm: [] for arm in ARMS}
        left_out = 0
        for row in rows:
            try:
                one = {arm: _write(session, row, makers[arm], arm, replay) for arm in ARMS}
            except EngineError as error:
                print(f"{row.id}: left out: {error}", file=sys.stderr)
                left_out += 1
                continue
            for arm, result in one.items():
                written[arm].append(result)
    return {"left_out": left_out, **{arm: _summary(written, arm) for arm in ARMS}}


def _write(
    session: LlamaSession,
    row: Example,
    make: Callable[[Example], Constraint | None],
    arm: str,
    replay: bool,
) -> tuple[float, int, int, str]:
    """Seconds behind the prompt, passes, tokens and text of one completion."""
    prompt = session.prompter.ids(row.messages, row.tools)
    constraint = make(row)  # grammars are compiled once for an application's tools
    if replay:
        gold = session.syntax.render([ToolCall(call.name, call.arguments) for call in row.calls])
        constraint = Replay(session, gold, constraint)
    lookup = PromptLookup(words_of(row.messages), session.prompter.encode)
    batch: BatchGenerator[str] = BatchGenerator(session)
    batch.add(
        row.id,
        prompt,
        SAMPLING,
        constraint,
        skip_forced=arm in ("forced", "drafted"),
        lookup=lookup if arm == "drafted" else None,
    )
    over: list[tuple[str, Completion]] = []
    while not over:
        over = batch.round()
    ((_, done),) = over
    if done.error is not None:
        raise EngineError(done.error)
    seconds = done.seconds - (done.first_seconds or 0.0)
    return seconds, done.passes or 0, len(done.token_ids), done.text


def _summary(written: dict[str, list[tuple[float, int, int, str]]], arm: str) -> dict[str, Any]:
    seconds, passes, tokens, texts = zip(*written[arm], strict=True)
    plain = [text for *_, text in written["llguidance"]]
    return {
        "seconds_p50": statistics.median(seconds),
        "seconds": sum(seconds),
        "passes": sum(passes),
        "tokens": sum(tokens),
        "free_over_this": sum(one[0] for one in written["free"]) / sum(seconds),
        "same_text_as_llguidance": sum(a == b for a, b in zip(texts, plain, strict=True)),
    }


def warm(path: Path, rows: Sequence[Example]) -> dict[str, Any]:
    """Seconds to the first token with the tools read from nothing, and taken from disk."""
    tools = {tool.name: tool for row in rows for tool in row.tools}
    offered: list[Any] = []
    with tempfile.TemporaryDirectory() as folder, LlamaSession(path) as session:
        for tool in tools.values():
            if len(session.prompter.ids(rows[0].messages, offered)) >= LONG:
                break
            offered.append(tool)
        session.path = Path(folder) / path.name  # what is kept goes there
        session.path.symlink_to(path.resolve())
        prompt = session.prompter.ids(rows[0].messages, offered)
        cold = [_first(session, prompt, lambda: None) for _ in range(5)]
        prefill(session, offered)
        read = [_first(session, prompt, lambda: prefill(session, offered)) for _ in range(5)]
        size = sum(file.stat().st_size for file in folder_of(session.path).glob("*.kv"))
    return {
        "prompt_tokens": len(prompt),
        "cold_s": statistics.median(cold),
        "warm_s": statistics.median(read),
        "ratio": statistics.median(cold) / statistics.median(read),
        "file_mib": size / 2**20,
    }


def _first(session: LlamaSession, prompt: list[int], prepare: Callable[[], object]) -> float:
    session.engine.forget()
    started = time.perf_counter()
    prepare()
    session.engine.read(prompt)
    return time.perf_counter() - started


def together(path: Path, rows: Sequence[Example]) -> dict[str, Any]:
    """Requests a second: TOGETHER at once, against one after another."""
    short = Sampling(max_completion_length=64)  # random weights would go on for ever
    jobs = [Job(row.messages, row.tools, short) for row in rows[:TOGETHER]]

    async def one(writer: WorkerClient, job: Job) -> str:
        text = ""
        async for event in writer.write(job):
            text += getattr(event, "text", "")
        return text

    async def in_turn(writer: WorkerClient) -> list[str]:
        return [await one(writer, job) for job in jobs]

    async def at_once(writer: WorkerClient) -> list[str]:
        gate = asyncio.Semaphore(TOGETHER)

        async def gated(job: Job) -> str:
            async with gate:
                return await one(writer, job)

        return list(await asyncio.gather(*(gated(job) for job in jobs)))

    with WorkerClient(path, sequences=TOGETHER) as writer:
        asyncio.run(at_once(writer))  # grammars are compiled, the file is read in
        started = time.perf_counter()
        apart = asyncio.run(in_turn(writer))
        middle = time.perf_counter()
        beside = asyncio.run(at_once(writer))
        ended = time.perf_counter()
    return {
        "requests": len(jobs),
        "at_once": TOGETHER,
        "one_by_one_s": middle - started,
        "together_s": ended - middle,
        "ratio": (middle - started) / (ended - middle),
        "same_text": sum(a == b for a, b in zip(apart, beside, strict=True)),
    }


if __name__ == "__main__":
    main()
