"""`edgetool serve`. It needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetool.calls.formats import describe
from edgetool.calls.types import Tool
from edgetool.data.rows import load_tools
from edgetool.serve.http import HOST, PORT, serve
from edgetool.serve.session import LlamaSession


def run_serve(model: Path, tools: Path | None, **options: Any) -> None:
    """Serve until interrupted; options that are None keep the server's own defaults."""
    chosen = {name: value for name, value in options.items() if value is not None}
    offered = _tools(tools)
    with LlamaSession(model) as session:
        host, port = chosen.get("host", HOST), chosen.get("port", PORT)
        names = ", ".join(tool.name for tool in offered) or "those of each request"
        said = describe(session.syntax, session.prompter.template)
        print(f"call syntax: {said}")
        print(f"serving {model.name} at http://{host}:{port}/v1 (tools: {names}); Ctrl-C ends it")
        serve(session, tools=offered, **chosen)


def _tools(path: Path | None) -> tuple[Tool, ...]:
    return load_tools(path) if path else ()
