"""`edgetool serve`: what a user sees of a server, from the first line to Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path

from edgetool.errors import ModelError, UsageError
from edgetool.serve.footprint import footprint, readable
from edgetool.serve.http import ChatServer
from edgetool.serve.listening import HOST, PORT, bind, is_loopback, server
from edgetool.serve.page import page_routes
from edgetool.serve.session import CONTEXT
from edgetool.serve.upstream import BINARY, find_binary
from edgetool.serve.writer import SEQUENCES, ChildWriter
from edgetool.verbs.asking import tools_from

OWN = "llama.cpp"
ENGINES = (OWN, BINARY)


def run_serve(
    model: Path,
    tools: Path | None,
    *,
    host: str | None = None,
    port: int | None = None,
    api_key: str | None = None,
    context: int | None = None,
    engine: str | None = None,
) -> None:
    """Serve until interrupted.

    engine   one of ENGINES; None: the first

    Raises UsageError for a host that others can reach without `api_key`, for a busy port and for
    an engine that is not here, ModelError for a file that cannot be used.
    """
    host, port = host or HOST, PORT if port is None else port
    require_key(host, api_key)
    binary = binary_of(engine)
    offered = tools_from(tools)
    with bind(host, port) as listening:
        print(memory_line(model, context or CONTEXT), flush=True)
        with ChildWriter(model, context=context, warm=offered, binary=binary) as writer:
            front = ChatServer(writer, model.stem, offered, api_key=api_key)
            url = address(host, listening.getsockname()[1])
            print(f"call syntax: {writer.syntax}")
            if binary is not None:
                print(f"engine: {binary}; what it cannot hold to a grammar is refused")
            print(welcome(url, front, locked=bool(api_key)), flush=True)
            # uvicorn ends well and then raises the signal once more
            with contextlib.suppress(KeyboardInterrupt):
                app = front.app(page_routes(front.tools, front.guarded))
                server(app).run(sockets=[listening])


def binary_of(engine: str | None) -> Path | None:
    """The program of an engine; None for our own. Raises UsageError."""
    if engine in (None, OWN):
        return None
    if engine != BINARY:
        raise UsageError(f"--engine {engine}: no such engine; choose of: {', '.join(ENGINES)}")
    return find_binary()


def require_key(host: str, api_key: str | None) -> None:
    if not is_loopback(host) and not api_key:
        raise UsageError(
            f"--host {host} lets others use this server; give --api-key KEY, or leave --host away"
        )


def memory_line(model: Path, context: int) -> str:
    """What a model will take, and what is there for it."""
    import psutil

    if not model.is_file():
        raise ModelError(f"{model}: no such file; `edgetool export` writes GGUF files")
    needed = footprint(model).needed(context, SEQUENCES)
    free = psutil.virtual_memory().available
    line = f"{model.name}: needs about {readable(needed)} of memory, {readable(free)} are free"
    if needed > free:
        line += "; expect it to be slow or to fail, or choose a smaller --context or quantization"
    return line


def address(host: str, port: int) -> str:
    """Where a client on this machine finds the server."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def welcome(url: str, front: ChatServer, *, locked: bool) -> str:
    """The URL, and how to ask it from a shell and from Python.

    locked   a key is asked for; it is named and never shown
    """
    names = ", ".join(tool.name for tool in front.tools) or "those of each request"
    key = 'os.environ["EDGETOOL_API_KEY"]' if locked else '"unused"'
    header = ' -H "Authorization: Bearer $EDGETOOL_API_KEY"' if locked else ""
    asked = [{"role": "user", "content": "hello"}]
    body = shlex.quote(json.dumps({"messages": asked}))
    return f"""serving {front.model} at {url} (tools: {names}); Ctrl-C ends it
try it in a browser: {url}/

    curl {url}/v1/chat/completions -H "Content-Type: application/json"{header} \\
      -d {body}

    {"import os, openai" if locked else "import openai"}
    client = openai.OpenAI(base_url="{url}/v1", api_key={key})
    client.chat.completions.create(model="{front.model}", messages={asked})
"""
