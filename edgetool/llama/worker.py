"""Completions for a server, in a process of its own: `python -m edgetool.llama.worker`.

Driven by `client.py`. Lines of JSON go both ways:

    -> {"path", "context", "threads", "sequences", "call_syntax", "template", "thinking",
        "adapter", "prefill"}
    <- {"thinking_modes", "context", "sequences", "chat_template", "prefill", "patience", "room"}
       or {"refused": ..., "usage": bool}
    <- {"alive": {"writing": ...}}    every second, from the start on, see `heartbeat.py`
    -> {"job": 7, "request": {...}}   {"cancel": 7}
    <- {"job": 7, "delta": {...}}     as often as something was written
    <- {"job": 7, "done": {...}}      or {"job": 7, "refused": ..., "usage": bool}

Nothing else may reach the pipe: what libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError
from edgetool.llama.generate import BatchGenerator
from edgetool.llama.heartbeat import (
    PREPARING,
    PREPARING_PATIENCE,
    WRITING,
    Marks,
    Pulse,
    die_with_parent,
    patience_for,
)
from edgetool.llama.load import CHUNK
from edgetool.llama.prepare import Prepared, Preparer
from edgetool.llama.prompt_cache import prefill
from edgetool.llama.prompt_lookup import PromptLookup, words_of
from edgetool.llama.protocol import Delta, Done, Job, job_from_json, refused
from edgetool.llama.session import LlamaSession, chosen_by
from edgetool.llama.stop_text import StopTextFilter
from edgetool.llama.thinking import ThinkingModes
from edgetool.runtime import Completion, Constraint

Say = Callable[[dict[str, Any]], None]
_GRACE_SECONDS = 2.0  # for what is written to be ended in order
Message = dict[str, Any] | Prepared | None  # None: the pipe is closed


def main() -> None:
    """Serve the parent until it closes the pipe."""
    listen(_work)


def listen(work: Callable[[dict[str, Any], Say, Pulse], None]) -> None:
    """Have `work` done with the parent's settings, and what it says sent to the parent."""
    die_with_parent()
    pipe = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)
    turn = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        line = json.dumps(message) + "\n"
        with turn:
            pipe.write(line)

    try:
        work(json.loads(sys.stdin.readline()), say, Pulse(say))
    except EdgetoolError as error:
        say(refused(error))
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _work(settings: dict[str, Any], say: Say, pulse: Pulse) -> None:
    tools = [Tool(**tool) for tool in settings.pop("prefill")]
    with LlamaSession(Path(settings.pop("path")), gpu=True, **settings) as session:
        steps = patience_for(_step_seconds(session))
        prefilled = prefill(session, tools) if tools else None
        inbox = messages_from_parent()
        worker = Worker(session, say, inbox, tools)
        engine = session.engine
        say(
            {
                "thinking_modes": worker.thinking_modes.as_json(),
                "context": engine.context,
                "sequences": engine.sequences,
                "chat_template": asdict(chosen_by(session.prompter)),
                "prefill": prefilled
                and {
                    "tokens": prefilled.tokens,
                    "loaded": prefilled.loaded,
                },
                "patience": {WRITING: steps, PREPARING: PREPARING_PATIENCE},
                "room": asdict(session.room),
            }
        )
        pulse.marks = worker.marks
        while worker.hear():
            worker.round()


def messages_from_parent() -> queue.Queue[Any]:
    """What the parent says, as it comes in. Soon after the end of it this process ends."""
    inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            inbox.put(json.loads(line))
        inbox.put(None)
        time.sleep(_GRACE_SECONDS)  # whatever is going on in the other threads
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return inbox


@dataclass
class _Task:
    """A job on its way. `tokens` were counted since the last Delta, the others until it."""

    number: int
    job: Job
    stop_filter: StopTextFilter
    prompt: list[int] = field(default_factory=list)
    cached: int = 0
    constraint: Constraint | None = None
    lookup: PromptLookup | None = None
    fresh: list[str] = field(default_factory=list)
    tokens: int = 0
    forced: int = 0
    drafted: int = 0

    def write(self, piece: bytes) -> None:
        self.tokens += 1
        self.fresh.append(self.stop_filter.feed(piece))


class Worker:
    """Does jobs side by side, as many as the session has sequences; the others wait.

    inbox   what the parent says, in messages of JSON
    tools   those that grammars are made of before anybody asks
    """

    def __init__(
        self,
        session: LlamaSession,
        say: Say,
        inbox: queue.Queue[Message],
        tools: Sequence[Tool] = (),
    ) -> None:
        self._session, self._say, self._inbox = session, say, inbox
        self._batch: BatchGenerator[int] = BatchGenerator(session)
        self._coming: dict[int, _Task] = {}  # being prepared
        self._ready: deque[_Task] = deque()
        self._tasks: dict[int, _Task] = {}  # being written
        self._rounds, self._idle = 0, True
        self._preparer = Preparer(session, inbox.put)
        self._preparer.start(tools)

    @property
    def thinking_modes(self) -> ThinkingModes:
        return self._preparer.prompters.thinking_modes()

    def hear(self) -> bool:
        """Take note of what was said; waits when there is nothing to do. False: it is over."""
        while not self._inbox.empty() or not (self._tasks or self._ready):
            self._idle = not (self._tasks or self._ready)
            message = self._inbox.get()
            if message is None:
                return False
            if isinstance(message, Prepared):
                self._take(message)
            elif "cancel" in message:
                self._cancel(message["cancel"])
            else:
                number, job = message["job"], job_from_json(message["request"])
                self._coming[number] = _Task(number, job, StopTextFilter(job.stop))
                self._preparer.add(number, job)
        self._idle = False
        return True

    def marks(self) -> Marks:
        """What this process is at, for another thread to tell."""
        step = self._rounds + self._session.engine.decoded
        return {WRITING: None if self._idle else step, PREPARING: self._preparer.number}

    def _take(self, prepared: Prepared) -> None:
        task = self._coming.pop(prepared.number, None)
        if task is None:  # cancelled
            return
        if prepared.error is not None:
            self._say({"job": task.number, **refused(prepared.error, usage=True)})
            return
        task.prompt, task.constraint = prepared.prompt, prepared.constraint
        self._ready.append(task)

    def round(self) -> None:
        """Read one prompt where there is room for it, and go a step on with everything."""
        self._rounds += 1
        if self._ready and self._batch.free:
            self._begin(self._ready.popleft())
        over = self._batch.round()
        finished = {number for number, _ in over}
        for number, task in list(self._tasks.items()):
            if number not in finished:
                self._tell(task)
                if task.stop_filter.stopped:
                    self._end(self._tasks.pop(number), self._batch.drop(number))
        for number, completion in over:
            self._end(self._tasks.pop(number), completion)

    def _cancel(self, number: int) -> None:
        if self._coming.pop(number, None) is not None:
            self._preparer.drop(number)
        self._ready = deque(task for task in self._ready if task.number != number)
        if self._tasks.pop(number, None) is not None and number in self._batch.keys:
            self._batch.drop(number)

    def _begin(self, task: _Task) -> None:
        skip_forced = task.job.sampling.temperature == 0
        if skip_forced and task.job.prompt is None:
            task.lookup = PromptLookup(words_of(task.job.messages), self._session.prompter.encode)
        try:
            self._batch.add(
                task.number,
                task.prompt,
                task.job.sampling,
                task.constraint,
                task.write,
                skip_forced=skip_forced,
                lookup=task.lookup,
                logprobs=task.job.logprobs,
                stop_ids=task.job.stop_ids,
            )
        except EdgetoolError as error:
            self._say({"job": task.number, **refused(error)})
            return
        task.cached = self._session.engine.kept
        self._tasks[task.number] = task

    def _tell(self, task: _Task) -> None:
        text = "".join(task.fresh)
        if not text:
            return
        total = task.constraint.forced if task.constraint is not None else 0
        kept = task.lookup.kept if task.lookup is not None else 0
        delta = Delta(text, task.tokens, total - task.forced, kept - task.drafted)
        task.fresh, task.tokens, task.forced, task.drafted = [], 0, total, kept
        self._say({"job": task.number, "delta": asdict(delta)})

    def _end(self, task: _Task, completion: Completion) -> None:
        task.fresh.append(task.stop_filter.finish())
        self._tell(task)
        stopped = task.stop_filter.stopped
        if stopped:  # what came behind the stop text was never said
            completion = replace(completion, text=task.stop_filter.text)
        done = Done(
            completion, len(task.prompt), task.cached, completion.passes or 0, stopped=stopped
        )
        self._say({"job": task.number, "done": asdict(done)})


def _step_seconds(session: LlamaSession) -> float:
    """How long one micro-batch takes this model, the second time. The cache is empty behind it."""
    tokens = [0] * max(1, min(CHUNK, session.engine.context - 1))
    for _ in range(2):
        started = time.perf_counter()
        session.engine.read(tokens)
    took = time.perf_counter() - started
    session.engine.forget()
    return took


if __name__ == "__main__":
    main()
