"""A process with a model in it, and the lines of JSON that go to and from it.

llama.cpp ends its process over some inputs (a failed assertion, a stack its grammar exhausts); in
a child that costs what was being written there, and no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from edgetool.errors import EdgetoolError, EngineError, ModelError, UsageError
from edgetool.llama.heartbeat import BEAT_SECONDS, STARTING_PATIENCE, Watchdog

_PACKAGE = Path(__file__).resolve().parents[2]
_TAIL = 400  # characters of a crashed child's stderr that are shown


@lru_cache(maxsize=1)
def _spawner(pid: int) -> ThreadPoolExecutor:
    """The thread that starts all children of this process, and lives as long as it does.

    Linux ends a child with the thread that started it (`heartbeat.die_with_parent`).
    """
    return ThreadPoolExecutor(1, thread_name_prefix=f"spawner-{pid}")


class Child:
    """One child and the pipes to it.

    module     what it runs: `python -m module`
    settings   the first line it is told; `path` is the model's
    """

    def __init__(self, module: str, settings: dict[str, Any]) -> None:
        self._module, self._settings = module, settings
        self._turn, self._over = threading.Lock(), False
        with self._turn:
            self._start()

    def _start(self) -> None:
        path = os.pathsep.join(filter(None, [str(_PACKAGE), os.environ.get("PYTHONPATH")]))
        self._hung = ""
        self._patience: dict[str, int] = {}
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
        self._process = _spawner(os.getpid()).submit(self._spawn, path).result()
        self._outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        sending = (self._outbox, self._process.stdin)
        threading.Thread(target=_send, args=sending, daemon=True).start()
        self.say(self._settings)

    def _spawn(self, path: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            encoding="ascii",
            start_new_session=True,  # Ctrl-C is for us: the pipe's end tells the child
            env={**os.environ, "PYTHONPATH": path},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def hello(self) -> dict[str, Any]:
        """What the child says once it has loaded the model."""
        message = self.hear(STARTING_PATIENCE)
        if message is None:
            words = self.last_words()  # waits for the end, so that there is a return code
            remedy = "" if self._hung else advice(self._process.returncode)
            raise ModelError(f"{self._settings['path']}: {words}{remedy}")
        if "refused" in message:
            raise refusal(message)
        self._patience = message.get("patience", {})
        return message

    def say(self, message: dict[str, Any]) -> None:
        """Have it told, in order; does not wait for a child that is slow to listen."""
        self._outbox.put(message)

    def hear(self, starting: int = 0) -> dict[str, Any] | None:
        """The child's next message beside its signs of life; None when it has ended, or hung and
        was ended. `starting` is as in Watchdog."""
        watchdog, over = Watchdog(self._patience, starting), threading.Event()
        threading.Thread(target=self._watch, args=(watchdog, over), daemon=True).start()
        try:
            while (message := self.listen()) is not None:
                watchdog.heard(message)
                if "alive" not in message:
                    break
            return message
        finally:
            over.set()

    def _watch(self, watchdog: Watchdog, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            if hangs := watchdog.tick():
                self._hung = f"the engine's process hung ({hangs}) and was ended"
                self.kill()
                return

    def listen(self) -> dict[str, Any] | None:
        """The child's next message, however long it takes; None when it has ended."""
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except ValueError:  # closed under our hands
            return None
        return json.loads(line) if line.endswith("\n") else None

    def kill(self) -> None:
        """End it at once, and what it started; `listen` will tell."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own

    def restart(self) -> str:
        """Replace a child that crashed; returns what is known of why.

        Raises EngineError after `stop`, and as `hello` does.
        """
        words = self.last_words()
        with self._turn:
            if self._over:
                raise EngineError(f"{words}; it was stopped for good meanwhile")
            self._end()
            self._start()
        self.hello()
        return words

    def stop(self) -> None:
        """End it for good: by closing its pipe, and by force a second later. May be called twice.

        A `restart` on its way in another thread comes to nothing.
        """
        with self._turn:
            self._over = True
            self._end()

    def _end(self) -> None:
        self._outbox.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self.kill()  # also what it started and left behind
        self._process.wait()
        self._noise.close()  # may be done twice

    def last_words(self) -> str:
        """What is known of why it ended; waits for its end."""
        self._process.wait()
        if self._hung:
            return self._hung
        said = ""
        with contextlib.suppress(ValueError):  # closed under our hands
            self._noise.seek(0)
            said = self._noise.read().decode("utf-8", "replace").strip()[-_TAIL:]
        return f"the engine's process ended with {self._process.returncode}" + (
            f": {said}" if said else ""
        )


def _send(outbox: queue.SimpleQueue[dict[str, Any] | None], pipe: IO[str]) -> None:
    """Write what is in the outbox until None comes, which closes the pipe."""
    # A child that is gone: `hear` will tell.
    with contextlib.suppress(BrokenPipeError), pipe:
        while (message := outbox.get()) is not None:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()


def advice(returncode: int) -> str:
    """What to do about a child that a signal ended while it loaded its model."""
    if returncode >= 0:  # it ended by itself, and said why
        return ""
    if returncode == -signal.SIGKILL:
        return (
            "; it was killed, as the system does when memory runs out: free some, choose a "
            "smaller --context or quantization, or compare the file's sha256 with the original's"
        )
    return (
        "; llama.cpp ends so over files that are damaged: compare its sha256 with the original's, "
        "or export or copy it again"
    )


def refusal(message: dict[str, Any]) -> EdgetoolError:
    """The error a child spoke of."""
    return (UsageError if message["usage"] else ModelError)(message["refused"])
