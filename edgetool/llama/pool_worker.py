"""A GGUF file in a process of its own: `python -m edgetool.llama.pool_worker`, driven by `pool.py`.

llama.cpp ends its process over some inputs (a failed assertion, a stack its grammar exhausts); here
that costs the rows that were being written and no more. Lines of JSON go both ways:

    -> {"path", "context", "threads", "sequences", "call_syntax", "template", "adapter"}
    <- {"syntax", "arms", "sequences", "chat_template"}       or {"refused": ..., "usage": bool}
    -> {"job": 7, "arm": ..., "sampling": {...}, "id": ..., "messages": [...], "tools": [...]}
    <- {"job": 7, "completion": {...}, "peak_mb": ...}        or {"refused": ..., "usage": bool}

Nothing else may reach the pipe: what libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.prompt.thinking import syntax_as_json
from edgetool.calls.types import Example, Tool
from edgetool.errors import EdgetoolError, UsageError
from edgetool.grammar.arms import Arms
from edgetool.grammar.gbnf import GBNFMaker
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.generate import BatchGenerator
from edgetool.llama.heartbeat import die_with_parent
from edgetool.llama.runtime import GGUFRuntime
from edgetool.llama.session import LlamaSession, chosen_by
from edgetool.runtime import Completion, Sampling

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve the parent until it closes the pipe."""
    die_with_parent()
    pipe = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")

    try:
        _work(json.loads(sys.stdin.readline()), say)
    except EdgetoolError as error:
        say({"refused": str(error), "usage": isinstance(error, UsageError)})
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _work(settings: dict[str, Any], say: Say) -> None:
    with LlamaSession(Path(settings.pop("path")), **settings) as session:
        arms = Arms(lambda: for_llama(session), lambda: GBNFMaker(session))
        runtime = GGUFRuntime(session, arms=arms)
        say(
            {
                "syntax": syntax_as_json(runtime.syntax),
                "arms": runtime.arms,
                "sequences": session.engine.sequences,
                "chat_template": asdict(chosen_by(session.prompter)),
            }
        )
        _write_all(runtime, _jobs(), say)


def _jobs() -> queue.Queue[dict[str, Any] | None]:
    """Jobs as they come in; None once the pipe is closed."""
    jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        jobs.put(None)

    threading.Thread(target=read, daemon=True).start()
    return jobs


def _write_all(runtime: GGUFRuntime, jobs: queue.Queue[dict[str, Any] | None], say: Say) -> None:
    batch: BatchGenerator[int] = BatchGenerator(runtime.session)
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
