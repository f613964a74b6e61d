"""A model in a child process, for a server's event loop: jobs in, events out.

The child may end at any moment, or hang and be ended; that costs the jobs that were in it, and the
next ones find a new child. `restarts.py` says when, `heartbeat.py` what hanging is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.calls.types import Tool
from edgetool.errors import Busy, EdgetoolError, EngineError, PromptTooLong, UsageError
from edgetool.llama.heartbeat import BEAT_SECONDS, Watchdog
from edgetool.llama.process import Child
from edgetool.llama.prompt_limit import Room
from edgetool.llama.protocol import Delta, Event, Job, done_from_json
from edgetool.llama.restarts import Restarts
from edgetool.llama.thinking import ThinkingModes

# What a child runs: llama-cpp-python, or a llama-server.
WORKER, LLAMA_SERVER_WORKER = "edgetool.llama.worker", "edgetool.llama.llama_server_worker"
# Completions written side by side. Each needs a KV cache of its own.
SEQUENCES = 8
# Jobs that may wait for a place; the next one is told to come back later.
WAITING = 64
# Beats without a word from the child after which /health no longer calls it well.
QUIET = 3


class WorkerClient:
    """A `protocol.Writer` on a GGUF file in llama.cpp, in one child process.

    template    as `template_choice.choose` is asked for one
    sequences   completions written side by side; llama.cpp may have room for fewer
    waiting     jobs that may wait beyond those
    binary      a llama-server that writes them in place of llama-cpp-python
    adapter     a LoRA adapter's GGUF file, added to the model's weights
    prefill     tools whose part of the prompt is read before the first job, or taken from disk
    tell        is told in a sentence when the child ends and is started again
    lost        why the child is given up for good; None as a rule. `on_lost` is called with it

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
        thinking: bool | None = None,
        sequences: int = SEQUENCES,
        waiting: int = WAITING,
        prefill: Sequence[Tool] = (),
        binary: Path | None = None,
        adapter: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        settings: dict[str, Any] = {
            "path": str(path),
            "context": context,
            "threads": threads,
            "sequences": sequences,
            "call_syntax": call_syntax,
            "template": template,
            "thinking": thinking,
            "adapter": str(adapter) if adapter else None,
        }
        if binary is None:
            settings["prefill"] = [asdict(tool) for tool in prefill]
        else:
            settings["binary"] = str(binary)
        self.path = path
        self._child = Child(WORKER if binary is None else LLAMA_SERVER_WORKER, settings)
        try:
            hello = self._child.hello()
        except EdgetoolError:
            self._child.stop()
            raise
        self.thinking_modes = ThinkingModes.from_json(hello["thinking_modes"])
        self.context: int = hello["context"]
        self.chat_template = ChatTemplate(**hello["chat_template"])
        self._room = Room(**hello["room"])
        self._places = hello["sequences"] + waiting
        self._numbers = itertools.count()
        self._inboxes: dict[int, _Inbox] = {}
        self._lock = threading.Lock()
        self._restarts, self._tell = Restarts(), tell
        self._watchdog = Watchdog(hello["patience"])
        self._started = time.monotonic()
        self._closed = threading.Event()
        self._down: _Down | None = None  # while there is no child
        self._hung: str | None = None
        self.lost: str | None = None
        self.on_lost: Callable[[], None] = lambda: None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; jobs on the way fail."""
        self._closed.set()
        self._child.stop()
        self._reader.join(timeout=5)

    @property
    def syntax(self) -> str:
        """Name of the call syntax the model writes."""
        return self.thinking_modes.syntax

    @property
    def trouble(self) -> str | None:
        """Why no job can be taken now, None when one can."""
        if self.lost is not None or self._down is not None:
            return self.lost or str(self._down)
        quiet = self._watchdog.silent
        return f"the engine has said nothing for {quiet} s" if quiet > QUIET else None

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
        if isinstance(job.prompt, str):
            self._room.require_possible([job.prompt])
        elif job.prompt is not None:
            self._room.require(job.prompt)
        else:
            self._room.require_possible_messages(job.messages)
        number, inbox = self._open()
        over = False
        try:
            self._child.say({"job": number, "request": asdict(job)})
            while not over:
                event = await inbox.get()
                over = not isinstance(event, Delta)
                if isinstance(event, EdgetoolError):
                    raise event
                yield event
        finally:
            with self._lock:
                self._inboxes.pop(number, None)
            if not over:
                self._child.say({"cancel": number})

    def _open(self) -> tuple[int, _Inbox]:
        with self._lock:
            if self.lost is not None:
                raise EngineError(self.lost)
            if self._down is not None:
                raise Busy(f"{self._down}; ask again then", self._down.seconds)
            if len(self._inboxes) >= self._places:
                raise Busy(f"the queue is full ({len(self._inboxes)} requests); retry later")
            number, inbox = next(self._numbers), _Inbox()
            self._inboxes[number] = inbox
            return number, inbox

    def _read(self) -> None:
        """Hand the child's messages out until the writer is closed; restart a child that ended."""
        while not self._closed.is_set() and self.lost is None:
            message = self._child.listen()
            if message is not None:
                self._watchdog.heard(message)
                self._hand_out(message)
            elif not self._closed.is_set():
                self._restart()

    def _watch(self) -> None:
        """End a child that hangs; the reader will notice."""
        while not self._closed.wait(BEAT_SECONDS) and self.lost is None:
            hangs = None if self._down is not None else self._watchdog.tick()
            if hangs is not None:
                self._hung = f"the engine's process hung ({hangs}) and was ended"
                self._child.kill()

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
        words = self._hung or self._child.last_words()
        pause = self._restarts.ended(time.monotonic() - self._started)
        self._go_down(words, pause)
        while not self._closed.wait(pause):
            try:
                self._child.restart()
            except EdgetoolError as error:
                pause = self._restarts.failed()
                if self._restarts.given_up:
                    self._lose(f"the engine could not be started again: {error}")
                    return
                self._go_down(str(error), pause)
            else:
                self._come_up()
                return

    def _go_down(self, words: str, pause: float) -> None:
        with self._lock:
            self._down = down = _Down(words, time.monotonic() + pause)
            for inbox in self._inboxes.values():
                inbox.put(EngineError(f"{down}, so ask again", down.seconds))
        self._tell(str(down))

    def _come_up(self) -> None:
        self._watchdog.begin()
        self._started, self._hung = time.monotonic(), None
        self._down = None
        self._tell("the engine works again")

    def _lose(self, words: str) -> None:
        self.lost = words
        self.on_lost()


@dataclass(frozen=True)
class _Down:
    """There is no child: why, and when the next one is started (`time.monotonic`)."""

    words: str
    until: float

    @property
    def seconds(self) -> int:
        """How long to wait before asking again."""
        return max(1, math.ceil(self.until - time.monotonic()))

    def __str__(self) -> str:
        later = self.until > time.monotonic()
        return f"{self.words}; it is started again {f'in {self.seconds} s' if later else 'now'}"


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
