"""Grammar compilation that an impossible schema cannot take down with it.

The engine is native code: a hostile schema can make it spend minutes or gigabytes, or abort. In a
child process with limits of its own that is an answer, not an accident.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgetool.calls.syntaxes import get
from edgetool.calls.tools.tools import ToolError, require_sound
from edgetool.calls.types import Tool
from edgetool.errors import EngineError

MAX_SECONDS = 2.0
MAX_BYTES = 500 * 2**20
_START_SECONDS = 30.0  # to start Python and load the engine, before the clock for schemas runs


@dataclass(frozen=True)
class Compiled:
    """Whether the engine takes a tool. problem: None, or why it does not."""

    tool: str
    problem: str | None


def check_grammars(
    tools: Sequence[Tool],
    syntaxes: Sequence[str],
    *,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> dict[str, list[Compiled]]:
    """Compile each tool's grammar of each syntax in a child process.

    syntaxes      names from `syntaxes.names()`
    max_seconds   CPU time of one grammar
    max_bytes     memory the child may take

    Never raises for a schema, whatever the engine does with it. Raises UsageError for a syntax
    nobody knows and EngineError when no child can be started.
    """
    for name in syntaxes:
        get(name)
    jobs = [(syntax, tool) for syntax in syntaxes for tool in tools]
    problems = [_unsound(tool) for _, tool in jobs]
    waiting = [i for i, problem in enumerate(problems) if problem is None]
    while waiting:
        done = _child([jobs[i] for i in waiting], max_seconds, max_bytes)
        for i, problem in zip(waiting, done, strict=False):
            problems[i] = problem
        waiting = waiting[len(done) :]
    found: dict[str, list[Compiled]] = {name: [] for name in syntaxes}
    for (syntax, tool), problem in zip(jobs, problems, strict=True):
        found[syntax].append(Compiled(tool.name, problem))
    return found


def _unsound(tool: Tool) -> str | None:
    try:
        require_sound(tool)
    except ToolError as error:
        return str(error)
    return None


def _child(
    jobs: Sequence[tuple[str, Tool]], max_seconds: float, max_bytes: int
) -> list[str | None]:
    """What one child says of the jobs, up to the one that ended it; at least one result."""
    order = {
        "max_seconds": max_seconds,
        "max_bytes": max_bytes,
        "jobs": [{"syntax": name, **tool.as_openai()["function"]} for name, tool in jobs],
    }
    limit = _START_SECONDS + 4 * max_seconds * len(jobs)
    command = [sys.executable, "-m", "edgetool.calls.tools.grammar_check_worker"]
    try:
        done = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, timeout=limit
        )
        written, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        written, code = (error.stdout or b"").decode(errors="replace"), None
    lines = [json.loads(line) for line in written.splitlines() if line.endswith("}")]
    if not lines or not lines[0].get("ready"):
        raise EngineError("the process that checks grammars did not start; is llguidance there?")
    results: list[str | None] = [line["problem"] for line in lines[1:]]
    if len(results) < len(jobs):
        results.append(_ended(code, max_seconds, max_bytes))
    return results


def _ended(code: int | None, max_seconds: float, max_bytes: int) -> str:
    how = "was stopped" if code is None else f"ended with {code}"
    return (
        f"compiling its grammar takes more than {max_seconds:g} s or "
        f"{max_bytes // 2**20} MiB (the process {how}); simplify the schema"
    )
