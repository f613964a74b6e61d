"""The child process of `template`: an order of JSON a line in, an answer of JSON a line out.

order    {"number": of the template, "template": its text, the first time, "variables": {...}}
answer   {"text": ...} or {"problem": why there is none}
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path

import jinja2

from edgetool.calls.prompt.template_environment import environment

MAX_TEXT = 16 * 2**20  # characters; no context is that long
_SHOWN = 500


def main() -> None:
    max_seconds, max_bytes = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business
    known = environment()
    sources: dict[int, str] = {}
    compiled: dict[int, jinja2.Template] = {}
    _limit_memory(max_bytes)
    print("ready", flush=True)
    for line in sys.stdin:
        _allow(max_seconds)
        order = json.loads(line)
        number = order["number"]
        sources.setdefault(number, order.get("template", ""))
        try:
            if number not in compiled:
                compiled[number] = known.from_string(sources[number])
            answer = _answer(compiled[number].render(order["variables"]))
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
            answer = {"problem": _said(error)}
        written = json.dumps(answer)
        _allow(0)
        print(written, flush=True)


def _answer(text: str) -> dict[str, str]:
    if len(text) > MAX_TEXT:
        return {"problem": f"it writes {len(text):,} characters, more than {MAX_TEXT:,}"}
    return {"text": text}


def _said(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    if isinstance(error, jinja2.TemplateError) and str(error):
        return str(error)[:_SHOWN]
    return f"{type(error).__name__}: {error}"[:_SHOWN]


def _limit_memory(more: int) -> None:
    """Allow so many bytes beyond those in use, where the system can tell and limit them."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        room = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (room, room))


def _allow(seconds: float) -> None:
    """CPU seconds from now until the kernel ends the process with SIGPROF; 0: no end."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
