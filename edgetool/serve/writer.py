"""A model in a child process, for a server's event loop: jobs in, events out.

The child may end at any moment; that costs the jobs that were in it, and the next ones find a new
child. One that keeps ending is not started again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.template_choice import ChatTemplate
from edgetool.calls.types import Tool
from edgetool.errors import Busy, EdgetoolError, EngineError, PromptTooLong, UsageError
from edgetool.serve.child import SILENCE_SECONDS, Child
from edgetool.serve.jobs import Delta, Event, Job, done_from_json

# Completions written side by side. Each needs a KV cache of its own.
SEQUENCES = 8
# Jobs that may wait for a place; the next one is told to come back later.
WAITING = 64
# A child that ends this often within so many seconds is broken, not unlucky.
MAX_CRASHES, CRASH_SECONDS = 3, 60.0


class ChildWriter:
    """A `jobs.Writer` on a GGUF file in llama.cpp, in one child process.

    template    as `template_choice.choose` is asked for one
    sequences   completions written side by side; llama.cpp may have room for fewer
    waiting     jobs that may wait beyond those
    binary      a llama-server that writes them in place of llama-cpp-python
    warm        tools whose part of the prompt is read before the first job, or taken from disk

    Raises ModelError for a file that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int | None = None,
        threads: int | None = None,
        call_syntax: str | None = None,
        template: str | None = None,
        sequences: int = SEQUENCES,
        waiting: int = WAITING,
        warm: Sequence[Tool] = (),
        binary: Path | None = None,
    ) -> None:
        settings: dict[str, Any] = {
            "path": str(path),
            "context": context,
            "threads": threads,
            "sequences": sequences,
            "call_syntax": call_syntax,
            "template": template,
        }
        if binary is None:
            settings["warm"] = [asdict(tool) for tool in warm]
        else:
            settings["binary"] = str(binary)
        module = "edgetool.serve.scribe" if binary is None else "edgetool.serve.relay"
        self.path = path
        self._child = Child(module, settings)
        try:
            said = self._child.hello()
        except EdgetoolError:
            self._child.stop()
            raise
        self.syntax: str = said["syntax"]
        self.context: int = said["context"]
        self.chat_template = ChatTemplate(**said["chat_template"])
        self._room = said["sequences"] + waiting
        self._numbers = itertools.count()
        self._inboxes: dict[int, _Inbox] = {}
        self._lock = threading.Lock()
        self._crashes: deque[float] = deque(maxlen=MAX_CRASHES)
        self._heard = time.monotonic()
        self._closed = self._restarting = False
        self._broken: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> ChildWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; jobs on the way fail."""
        self._closed = True
        self._child.stop()
        self._reader.join(timeout=5)

    @property
    def trouble(self) -> str | None:
        """Why no job can be taken now, None when one can."""
        return self._broken or ("the engine is being started again" if self._restarting else None)

    @property
    def load(self) -> int:
        """Jobs that are being done or wait."""
        return len(self._inboxes)

    @property
    def pid(self) -> int:
        """The process the model is in; another one after a crash."""
        return self._child.pid

    async def write(self, job: Job) -> AsyncIterator[Event]:
        """The events of a job, the last one a Done. Closing the iterator cancels it.

        Raises UsageError or PromptTooLong for a job that cannot be done, Busy when too many wait,
        and EngineError when the engine failed under it.
        """
        number, inbox = self._open()
        over = False
        try:
            self._child.say({"job": number, "wanted": asdict(job)})
            while not over:
                event = await self._next(inbox)
                over = not isinstance(event, Delta)
                if isinstance(event, EdgetoolError):
                    raise event
                yield event
        finally:
            with self._lock:
                self._inboxes.pop(number, None)
            if not over:
                self._child.say({"cancel": number})

    async def _next(self, inbox: _Inbox) -> Event | EdgetoolError:
        """What comes next of a job. A child that says nothing to anybody for too long is ended."""
        while True:
            try:
                return await asyncio.wait_for(inbox.get(), SILENCE_SECONDS)
            except asyncio.TimeoutError:
                if time.monotonic() - self._heard >= SILENCE_SECONDS:
                    self._child.kill()  # the reader will tell

    def _open(self) -> tuple[int, _Inbox]:
        with self._lock:
            if self._broken is not None:
                raise EngineError(self._broken)
            if self._restarting:
                raise Busy("the engine is being started again; ask again in a moment")
            if len(self._inboxes) >= self._room:
                raise Busy(f"{len(self._inboxes)} requests are waiting already; ask again later")
            if not self._inboxes:
                self._heard = time.monotonic()  # nothing was asked of it until now
            number, inbox = next(self._numbers), _Inbox()
            self._inboxes[number] = inbox
            return number, inbox

    def _read(self) -> None:
        """Hand the child's messages out until the writer is closed; restart a child that ended."""
        while not self._closed and self._broken is None:
            message = self._child.listen()
            if message is not None:
                self._heard = time.monotonic()
                self._hand_out(message)
            elif not self._closed:
                self._restart()

    def _hand_out(self, message: dict[str, Any]) -> None:
        inbox = self._inboxes.get(message.get("job", -1))
        if inbox is None:  # cancelled, or the last words of a child
            return
        if "delta" in message:
            inbox.put(Delta(**message["delta"]))
        elif "done" in message:
            inbox.put(done_from_json(message["done"]))
        else:
            theirs = PromptTooLong if message["too_long"] else UsageError
            inbox.put((theirs if message["usage"] else EngineError)(message["refused"]))

    def _restart(self) -> None:
        """The child is gone, and its jobs with it."""
        words = self._child.last_words()
        with self._lock:
            self._restarting = True
            for inbox in self._inboxes.values():
                inbox.put(EngineError(f"{words}; it is being started again, so ask again"))
        self._crashes.append(time.monotonic())
        often = len(self._crashes) == MAX_CRASHES
        if often and self._crashes[-1] - self._crashes[0] < CRASH_SECONDS:
            self._broken = f"{words}; it ended {MAX_CRASHES} times in a minute and was given up"
            return
        try:
            self._child.restart()
        except EdgetoolError as error:
            self._broken = f"the engine could not be started again: {error}"
        self._restarting = False


class _Inbox:
    """What comes back for one job: put by the reader's thread, taken by the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | EdgetoolError] = asyncio.Queue()

    def put(self, event: Event | EdgetoolError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def get(self) -> Event | EdgetoolError:
        return await self._queue.get()
