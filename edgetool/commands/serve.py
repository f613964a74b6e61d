"""An OpenAI-compatible server for one GGUF file.

With --engine llama-server, llama.cpp's own grammar constrains the calls. It refuses schemas that
it cannot express, and an answer may be cut at max_tokens. Forced tokens are not skipped, prompt
lookup is off, and the tools' prompt is not cached on disk.

An engine that ends or hangs is started again. Meanwhile /health and all requests answer 503 and
say when to retry. When it cannot be started again, the server ends with exit code 1, so that
systemd or docker can restart it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetool.calls.types import Tool
from edgetool.commands.common import (
    AdapterOption,
    ModelArgument,
    TemplateOption,
    ThinkingOption,
    ToolsOrFunctionsOption,
    group,
)
from edgetool.commands.run import tools_from
from edgetool.commands.targets import gguf_of, require_adapter
from edgetool.errors import EngineError, NoSuchModel, UsageError
from edgetool.llama.client import SEQUENCES, WorkerClient
from edgetool.llama.memory import LLAMA_SERVER, OURS, Opening, footprint, readable

if TYPE_CHECKING:
    from edgetool.server.app import ChatServer

OWN = "llama.cpp"
KEY_VARIABLE = "EDGETOOL_API_KEY"
_HOW_TO_OFFER = "a request uses the tools it sends; with --offer-tools, these if it sends none"

app = group()


@app.command(help=__doc__)
def serve(
    model: ModelArgument,
    tools: ToolsOrFunctionsOption = None,
    host: Annotated[
        str | None, typer.Option(help="Loopback by default; another one needs --api-key.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens a prompt and its completion may have.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="EDGETOOL_API_KEY", help="Key that every request must send."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="llama.cpp|llama-server",
            help="llama-server is the program of that name on PATH, or $EDGETOOL_LLAMA_SERVER.",
        ),
    ] = None,
    template: TemplateOption = None,
    offer_tools: Annotated[
        bool, typer.Option("--offer-tools", help="Requests that bring no tools get --tools.")
    ] = False,
    thinking: ThinkingOption = False,
    adapter: AdapterOption = None,
) -> None:
    from edgetool.llama.session import CONTEXT
    from edgetool.server.app import ChatServer
    from edgetool.server.listen import HOST, PORT, bind

    path = gguf_of(model)
    require_adapter(adapter, path)
    host, port = host or HOST, PORT if port is None else port
    require_key(host, api_key)
    if offer_tools and tools is None:
        raise UsageError("--offer-tools: no tools are given; name them with --tools FILE")
    binary = binary_of(engine)
    offered = tools_from(tools)
    with bind(host, port) as listening:
        opening = OURS if binary is None else LLAMA_SERVER
        print(memory_line(path, context or CONTEXT, opening), flush=True)
        with WorkerClient(
            path,
            context=context,
            template=template,
            thinking=thinking or None,
            prefill=offered,
            binary=binary,
            adapter=adapter,
            tell=_tell,
        ) as writer:
            name = f"{path.stem}:{adapter.stem}" if adapter else path.stem
            front = ChatServer(writer, name, offered, api_key=api_key, offer_tools=offer_tools)
            url = address(host, listening.getsockname()[1])
            _announce(front, writer, url, binary, locked=bool(api_key))
            _run(front, writer, listening)


def _announce(
    front: ChatServer, writer: WorkerClient, url: str, binary: Path | None, *, locked: bool
) -> None:
    """What is served, and how to ask it."""
    if note := writer.chat_template.note:
        print(note)
    print(f"call syntax: {writer.syntax}{writer.thinking_modes.note()}")
    if binary is not None:
        print(f"engine: {binary}; schemas that its grammar cannot express are refused")
    if front.tools and not front.offered:
        print(f"tools on the page: {names_of(front.tools)}; {_HOW_TO_OFFER}")
    print(welcome(url, front, locked=locked), flush=True)


def _run(front: ChatServer, writer: WorkerClient, listening: socket.socket) -> None:
    """Answer until interrupted. Raises EngineError where the engine is lost for good."""
    from edgetool.server.listen import server
    from edgetool.server.page import page_routes

    own = server(front.app(page_routes(front.tools, front.guarded)))
    writer.on_lost = lambda: setattr(own, "should_exit", True)
    # uvicorn ends well and then raises the signal once more
    with contextlib.suppress(KeyboardInterrupt):
        own.run(sockets=[listening])
    if writer.lost is not None:
        raise EngineError(writer.lost)


def _tell(sentence: str) -> None:
    print(f"engine: {sentence}", file=sys.stderr, flush=True)


def binary_of(engine: str | None) -> Path | None:
    """The program of an engine; None for our own. Raises UsageError."""
    from edgetool.llama.llama_server import BINARY, find_binary

    if engine in (None, OWN):
        return None
    if engine != BINARY:
        raise UsageError(f"--engine {engine}: no such engine; choose of: {OWN}, {BINARY}")
    return find_binary()


def require_key(host: str, api_key: str | None) -> None:
    """Raises UsageError for a key that locks nothing, and for an open host without one."""
    from edgetool.server.listen import is_loopback

    if api_key is None and os.environ.get(KEY_VARIABLE) == "":
        raise UsageError(f"{KEY_VARIABLE} is set and empty; give it a key, or unset it")
    if api_key is not None and (not api_key or not api_key.isprintable() or " " in api_key):
        raise UsageError(
            f"--api-key {api_key!r}: no key that a header can hold; give one without spaces, as "
            "`openssl rand -hex 16` makes it, or leave --api-key out on a loopback host"
        )
    if not is_loopback(host) and not api_key:
        raise UsageError(
            f"--host {host} lets others use this server; give --api-key KEY, or leave --host out"
        )


def memory_line(model: Path, context: int, opening: Opening = OURS) -> str:
    """What a model will take, and what is there for it."""
    import psutil

    if not model.is_file():
        raise NoSuchModel(f"{model}: no such file; `edgetool export` writes GGUF files")
    needed = footprint(model).needed(context, SEQUENCES, opening)
    free = psutil.virtual_memory().available
    line = f"{model.name}: needs about {readable(needed)} of memory, {readable(free)} are free"
    if needed > free:
        line += "; expect it to be slow or to fail, or choose a smaller --context or quantization"
    return line


def names_of(tools: Sequence[Tool]) -> str:
    return ", ".join(tool.name for tool in tools)


def address(host: str, port: int) -> str:
    """Where a client on this machine finds the server."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def welcome(url: str, front: ChatServer, *, locked: bool) -> str:
    """The URL, and how to ask it from a shell and from Python.

    locked   a key is asked for; it is named and never shown
    """
    names = names_of(front.offered) or "those of each request"
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
