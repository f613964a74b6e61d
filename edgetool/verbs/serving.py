"""`edgetool run`. It needs no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgetool.calls.types import Tool
from edgetool.data.rows import load_tools
from edgetool.serve.ask import ask
from edgetool.serve.session import LlamaSession


def run_ask(model: Path, question: str, tools: Path | None, *, constrained: bool) -> bool:
    """Print the calls as JSON, one a line, or the prose; returns whether a call was made."""
    with LlamaSession(model) as session:
        answer = ask(session, question, _tools(tools), constrained=constrained)
    for call in answer.calls:
        print(json.dumps(call.as_json(), ensure_ascii=False))
    if answer.text:
        print(answer.text)
    if answer.problem:
        print(f"edgetool: the completion is not clean: {answer.problem}", file=sys.stderr)
    return bool(answer.calls) and answer.problem is None


def _tools(path: Path | None) -> tuple[Tool, ...]:
    return load_tools(path) if path else ()
