"""The child process of `grammar_check`: a line of JSON for each tool, once it is compiled."""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.schema.tree import PATH
from edgetool.calls.syntaxes import CallSyntax, get
from edgetool.calls.tools.grammar_faults import complaint
from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError


def main() -> None:
    import llguidance

    order = json.load(sys.stdin)
    tokenizer = llguidance.LLTokenizer("byte")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Address space, which the engine's own threads reserve generously before they use it.
    room = _mapped() + order["max_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    print(json.dumps({"ready": True}), flush=True)
    for job in order["jobs"]:
        _allow(order["max_seconds"])
        tool = Tool(job["name"], job["description"], job["parameters"])
        print(json.dumps({"problem": _problem(tokenizer, get(job["syntax"]), tool)}), flush=True)


def _mapped() -> int:
    """Bytes of address space in use."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def _allow(seconds: float) -> None:
    """CPU seconds from now until the kernel ends the process with SIGPROF."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _problem(tokenizer: Any, syntax: CallSyntax, tool: Tool) -> str | None:
    def problem_of(grammar: str) -> str | None:
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0)
        if not matcher.is_error():
            matcher.compute_bitmask()
        return str(matcher.get_error()) if matcher.is_error() else None

    from llguidance import LLMatcher

    try:
        error = problem_of(syntax.grammar([tool], required=True))
    except SchemaError as fault:
        return str(fault).removeprefix(f"tool '{tool.name}': ")
    except (EdgetoolError, ValueError) as fault:
        return f"{type(fault).__name__}: {fault}"
    return error and complaint(tool.parameters, error, problem_of, PATH)


if __name__ == "__main__":
    main()
