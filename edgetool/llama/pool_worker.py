"""A GGUF file in a process of its own: `python -m edgetool.llama.pool_worker`, driven by `pool.py`.

llama.cpp ends its process over some inputs (a failed assertion, a stack its grammar exhausts); here
that costs the rows that were being written and no more. Lines of JSON go both ways:

    -> {"path", "context", "threads", "sequences", "call_syntax", "template", "adapter"}
    <- {"syntax", "arms", "sequences", "chat_template", "patience"}
       or {"refused": ..., "usage": bool}
    <- {"alive": {"writing": ...}}                            every second, see `heartbeat.py`
    -> {"job": 7, "arm": ..., "sampling": {...}, "id": ..., "messages": [...], "tools": [...]}
    <- {"job": 7, "completion": {...}, "peak_mb": ...}        or {"refused": ..., "usage": bool}

Nothing else may reach the pipe: what libraries print goes to stderr.
"""

from __future__ import annotations

import queue
import resource
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.prompt.thinking import syntax_as_json
from edgetool.calls.types import Example, Tool
from edgetool.grammar.arms import Arms
from edgetool.grammar.gbnf import GBNFMaker
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.generate import BatchGenerator
from edgetool.llama.heartbeat import STARTING_PATIENCE, WRITING, Pulse
from edgetool.llama.runtime import GGUFRuntime
from edgetool.llama.session import LlamaSession, chosen_by
from edgetool.llama.worker import Say, listen, messages_from_parent
from edgetool.runtime import Completion, Sampling


def main() -> None:
    """Serve the parent until it closes the pipe."""
    listen(_work)


def _work(settings: dict[str, Any], say: Say, pulse: Pulse) -> None:
    with LlamaSession(Path(settings.pop("path")), **settings) as session:
        arms = Arms(lambda: for_llama(session), lambda: GBNFMaker(session))
        runtime = GGUFRuntime(session, arms=arms)
        say(
            {
                "syntax": syntax_as_json(runtime.syntax),
                "arms": runtime.arms,
                "sequences": session.engine.sequences,
                "chat_template": asdict(chosen_by(session.prompter)),
                "patience": {WRITING: STARTING_PATIENCE},
            }
        )
        batch: BatchGenerator[int] = BatchGenerator(session)
        pulse.marks = lambda: {WRITING: session.engine.decoded}
        _write_all(runtime, batch, messages_from_parent(), say)


def _write_all(
    runtime: GGUFRuntime, batch: BatchGenerator[int], jobs: queue.Queue[Any], say: Say
) -> None:
    while True:
        while batch.free and (not batch.keys or not jobs.empty()):
            job = jobs.get()
            if job is None:
                return
            sampling, example = Sampling(**job["sampling"]), _example(job)
            refused = runtime.begin(batch, job["job"], example, sampling, job["arm"])
            if refused is not None:
                say(_done(job["job"], refused))
        for number, completion in batch.round():
            say(_done(number, completion))


def _example(job: dict[str, Any]) -> Example:
    tools = tuple(Tool(**tool) for tool in job["tools"])
    return Example(job["id"], tuple(job["messages"]), tools, ())


def _done(number: int, completion: Completion) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"job": number, "completion": asdict(completion), "peak_mb": peak}


if __name__ == "__main__":
    main()
