"""Chat templates are programs from strangers: they run in a process with limits of its own.

Jinja's sandbox keeps a template away from Python, but not from a loop without end or a text of ten
gigabytes. The process is started with the first prompt, serves all later ones over a pipe, and is
started anew when a template was the end of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from edgetool.errors import EngineError, ModelError

MAX_SECONDS = 2.0
MAX_BYTES = 256 * 2**20
MAX_TEMPLATES = 32  # that one child keeps


def render(template: str, variables: Mapping[str, Any]) -> str:
    """What a template writes.

    variables   what it sees: JSON values

    Raises ModelError when it refuses, is broken or goes beyond the limits.
    """
    return _process(os.getpid()).render(template, variables)


@lru_cache(maxsize=1)
def _process(pid: int) -> TemplateProcess:
    """One for each process: two that share a pipe, as after a fork, would read each other's."""
    return TemplateProcess()


class TemplateProcess:
    """A child that renders templates, one at a time.

    max_seconds   CPU time of one prompt
    max_bytes     memory beyond what the child has when it starts
    """

    def __init__(self, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_seconds, self._max_bytes = max_seconds, max_bytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._sent: dict[str, int] = {}  # templates the child has, by their numbers
        self._stop: Callable[[], Any] = lambda: None

    def close(self) -> None:
        """End the child; the next prompt starts another."""
        self._stop()
        self._child, self._sent = None, {}

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """As the function of that name."""
        with self._lock:
            said = self._ask(template, variables)
        if said is None:
            raise ModelError(
                f"the model's chat template takes more than {self._max_seconds:g} s or "
                f"{self._max_bytes // 2**20} MiB for this conversation; use another template"
            )
        if "problem" in said:
            raise ModelError(
                f"the model's chat template cannot render this conversation: {said['problem']}"
            )
        return str(said["text"])

    def _ask(self, template: str, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """The child's answer, None when the order was the end of it."""
        child = self._running()
        assert child.stdin is not None and child.stdout is not None
        order: dict[str, Any] = {"variables": variables}
        if template not in self._sent:
            order["template"] = template
        order["number"] = self._sent.setdefault(template, len(self._sent))
        line = ""
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        if not line.endswith("\n"):
            self.close()
            return None
        said: dict[str, Any] = json.loads(line)
        return said

    def _running(self) -> subprocess.Popen[str]:
        if len(self._sent) > MAX_TEMPLATES:
            self.close()
        if self._child is None or self._child.poll() is not None:
            self._child, self._sent = self._started(), {}
            self._stop = weakref.finalize(self, _end, self._child, os.getpid())
        return self._child

    def _started(self) -> subprocess.Popen[str]:
        limits = [str(self._max_seconds), str(self._max_bytes)]
        child = subprocess.Popen(
            [sys.executable, "-m", "edgetool.calls.prompt.template_worker", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
        )
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            child.kill()
            child.wait()
            raise EngineError("the process that renders chat templates did not start")
        return child


def _end(child: subprocess.Popen[str], owner: int) -> None:
    """Closing its input ends the child. After a fork it is still the other process's."""
    if os.getpid() != owner:
        return
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    child.kill()
    child.wait()
