"""Completions for a server, in a process of its own: `python -m edgetool.serve.scribe`.

Driven by `writer.py`. Lines of JSON go both ways:

    -> {"path", "context", "threads", "sequences", "call_syntax", "template", "thinking", "warm"}
    <- {"ways", "context", "sequences", "chat_template", "warm", "patience"}
       or {"refused": ..., "usage": bool}
    -> {"job": 7, "wanted": {...}}    {"cancel": 7}
    <- {"job": 7, "delta": {...}}     as often as something was written
    <- {"alive": {"writing": ...}}    every second, see `pulse.py`
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetool.calls.formats import CallSyntax
from edgetool.calls.prompt import Prompter
from edgetool.calls.runtime import Completion, Constraint
from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError, PromptTooLong, UsageError
from edgetool.serve.constrained import ConstraintMaker, for_llama
from edgetool.serve.drafting import Drafter, words_of
from edgetool.serve.jobs import AUTO, NONE, REQUIRED, Delta, Done, Job, job_from_json
from edgetool.serve.opening import CHUNK
from edgetool.serve.pulse import WRITING, Marks, beat, die_with_parent, patience_for
from edgetool.serve.session import LlamaSession, chosen_by
from edgetool.serve.speech import Speech
from edgetool.serve.warm import warm_up
from edgetool.serve.ways import Prompters
from edgetool.serve.writing import Batch

Say = Callable[[dict[str, Any]], None]
_GRACE_SECONDS = 2.0  # for what is written to be ended in order
Told = dict[str, Any] | None  # None: the pipe is closed


def main() -> None:
    """Serve the parent until it closes the pipe."""
    listen(_work)


def listen(work: Callable[[dict[str, Any], Say], None]) -> None:
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
        work(json.loads(sys.stdin.readline()), say)
    except EdgetoolError as error:
        say(refused(error))
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _work(settings: dict[str, Any], say: Say) -> None:
    tools = [Tool(**tool) for tool in settings.pop("warm")]
    with LlamaSession(Path(settings.pop("path")), gpu=True, **settings) as session:
        scribe = Scribe(session, say)
        patience = {WRITING: patience_for(_step_seconds(session))}
        warm = warm_up(session, tools) if tools else None
        engine = session.engine
        say(
            {
                "ways": scribe.prompters.ways().as_json(),
                "context": engine.context,
                "sequences": engine.sequences,
                "chat_template": asdict(chosen_by(session.prompter)),
                "warm": warm and {"tokens": warm.tokens, "loaded": warm.loaded},
                "patience": patience,
            }
        )
        beat(say, scribe.marks)
        told = told_by_parent()
        while scribe.hear(told):
            scribe.round()


def told_by_parent() -> queue.Queue[Told]:
    """What the parent says, as it comes in. Soon after the end of it this process ends."""
    told: queue.Queue[Told] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            told.put(json.loads(line))
        told.put(None)
        time.sleep(_GRACE_SECONDS)  # whatever is going on in the other threads
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return told


@dataclass
class _Task:
    """A job on its way. `tokens` were counted since the last Delta, the others until it."""

    number: int
    job: Job
    speech: Speech
    prompt_tokens: int = 0
    cached: int = 0
    constraint: Constraint | None = None
    drafter: Drafter | None = None
    fresh: list[str] = field(default_factory=list)
    tokens: int = 0
    forced: int = 0
    drafted: int = 0

    def write(self, piece: bytes) -> None:
        self.tokens += 1
        self.fresh.append(self.speech.feed(piece))


class Scribe:
    """Does jobs side by side, as many as the session has sequences; the others wait."""

    def __init__(self, session: LlamaSession, say: Say) -> None:
        self._session, self._say = session, say
        self._batch: Batch[int] = Batch(session)
        self._waiting: deque[_Task] = deque()
        self._tasks: dict[int, _Task] = {}
        self._rounds, self._idle = 0, True
        self.prompters = Prompters(session.prompter)
        self._made: dict[CallSyntax, ConstraintMaker] = {}

    def hear(self, told: queue.Queue[Told]) -> bool:
        """Take note of what was said; waits when there is nothing to do. False: it is over."""
        while not told.empty() or not (self._tasks or self._waiting):
            self._idle = not (self._tasks or self._waiting)
            message = told.get()
            if message is None:
                return False
            if "cancel" in message:
                self._cancel(message["cancel"])
            else:
                job = job_from_json(message["wanted"])
                self._waiting.append(_Task(message["job"], job, Speech(job.stop)))
        self._idle = False
        return True

    def marks(self) -> Marks:
        """What this process is at, for another thread to tell."""
        step = self._rounds + self._session.engine.decoded
        return {WRITING: None if self._idle else step}

    def round(self) -> None:
        """Read one prompt where there is room for it, and go a step on with everything."""
        self._rounds += 1
        if self._waiting and self._batch.free:
            self._begin(self._waiting.popleft())
        over = self._batch.round()
        finished = {number for number, _ in over}
        for number, task in list(self._tasks.items()):
            if number not in finished:
                self._tell(task)
                if task.speech.stopped:
                    self._end(self._tasks.pop(number), self._batch.drop(number))
        for number, completion in over:
            self._end(self._tasks.pop(number), completion)

    def _cancel(self, number: int) -> None:
        self._waiting = deque(task for task in self._waiting if task.number != number)
        if self._tasks.pop(number, None) is not None and number in self._batch.keys:
            self._batch.drop(number)

    def _begin(self, task: _Task) -> None:
        try:
            prompter = self.prompters.of(task.job)
            prompt = self._prompt(task.job, prompter)
            task.constraint = self._constraint(task.job, prompter.syntax)
        except EdgetoolError as error:  # a conversation no prompt can be made of, a hostile schema
            self._say({"job": task.number, **refused(error, usage=True)})
            return
        task.prompt_tokens = len(prompt)
        hasten = task.job.sampling.temperature == 0
        if hasten and task.job.prompt is None:
            task.drafter = Drafter(words_of(task.job.messages), self._session.prompter.encode)
        try:
            self._batch.add(
                task.number,
                prompt,
                task.job.sampling,
                task.constraint,
                task.write,
                hasten=hasten,
                drafter=task.drafter,
            )
        except EdgetoolError as error:
            self._say({"job": task.number, **refused(error)})
            return
        task.cached = self._session.engine.kept
        self._tasks[task.number] = task

    def _prompt(self, job: Job, prompter: Prompter) -> list[int]:
        if job.prompt is not None:
            return self._session.text_ids(job.prompt)
        return prompter.ids(job.messages, () if job.choice == NONE else job.tools)

    def _constraint(self, job: Job, syntax: CallSyntax) -> Constraint | None:
        if job.schema is not None:
            tools = job.tools if job.choice == AUTO else ()
            return self._maker(syntax).for_schema(job.schema, tools, parallel=job.parallel)
        if not job.constrained or job.prompt is not None or job.choice == NONE:
            return None
        offered = [tool for tool in job.tools if job.only in (None, tool.name)]
        required = job.choice == REQUIRED or job.only is not None
        return self._maker(syntax)(offered, required=required, parallel=job.parallel)

    def _maker(self, syntax: CallSyntax) -> ConstraintMaker:
        if not self._made:
            self._made[self._session.syntax] = for_llama(self._session)
        if syntax not in self._made:
            self._made[syntax] = self._made[self._session.syntax].for_syntax(syntax)
        return self._made[syntax]

    def _tell(self, task: _Task) -> None:
        text = "".join(task.fresh)
        if not text:
            return
        total = task.constraint.forced if task.constraint is not None else 0
        kept = task.drafter.kept if task.drafter is not None else 0
        delta = Delta(text, task.tokens, total - task.forced, kept - task.drafted)
        task.fresh, task.tokens, task.forced, task.drafted = [], 0, total, kept
        self._say({"job": task.number, "delta": asdict(delta)})

    def _end(self, task: _Task, completion: Completion) -> None:
        task.fresh.append(task.speech.finish())
        self._tell(task)
        stopped = task.speech.stopped
        if stopped:  # what came behind the stop text was never said
            completion = replace(completion, text=task.speech.said)
        done = Done(
            completion, task.prompt_tokens, task.cached, completion.passes or 0, stopped=stopped
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


def refused(error: EdgetoolError, *, usage: bool = False) -> dict[str, Any]:
    """An error as the parent is told of it; `usage`: whatever it is, the asker is at fault."""
    too_long = isinstance(error, PromptTooLong)
    theirs = usage or too_long or isinstance(error, UsageError)
    return {"refused": str(error), "usage": theirs, "too_long": too_long}


if __name__ == "__main__":
    main()
