"""The child process of `guard`: one line of JSON for each tool, as soon as it is compiled."""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from edgetool.calls.formats import CallSyntax, get
from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError


def main() -> None:
    import llguidance

    order = json.load(sys.stdin)
    tokenizer = llguidance.LLTokenizer("byte")
    syntax = get(order["syntax"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Address space, which the engine's own threads reserve generously before they use it.
    room = _mapped() + order["max_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    print(json.dumps({"ready": True}), flush=True)
    for function in order["tools"]:
        _allow(order["max_seconds"])
        tool = Tool(function["name"], function["description"], function["parameters"])
        print(json.dumps({"problem": _problem(tokenizer, syntax, tool)}), flush=True)


def _mapped() -> int:
    """Bytes of address space in use."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def _allow(seconds: float) -> None:
    """CPU seconds from now until the kernel ends the process with SIGPROF."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _problem(tokenizer: Any, syntax: CallSyntax, tool: Tool) -> str | None:
    from llguidance import LLMatcher

    try:
        grammar = LLMatcher.grammar_from_lark(syntax.grammar([tool], required=True))
    except (EdgetoolError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    if matcher.is_error():
        return str(matcher.get_error())
    matcher.compute_bitmask()
    return str(matcher.get_error()) if matcher.is_error() else None


if __name__ == "__main__":
    main()
