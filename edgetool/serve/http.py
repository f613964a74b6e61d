"""The OpenAI-compatible server. It never runs a tool: it only says which calls the model makes.

Any page in a browser can send requests to a loopback port. Without an API key, only JSON bodies
(which a page of another origin may not send unasked) to a loopback name (no DNS rebinding) count.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgetool.calls.formats.base import INVALID, dumps, loads
from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError, UsageError
from edgetool.serve.ask import Answer, read_answer
from edgetool.serve.constrained import for_llama
from edgetool.serve.openai_types import (
    ChatRequest,
    completion_chunks,
    completion_object,
    error_object,
)
from edgetool.serve.page import page_routes
from edgetool.serve.session import LlamaSession

HOST, PORT = "127.0.0.1", 8080
MAX_BODY = 4 * 2**20

Handler = Callable[[Request], Awaitable[Response]]


class _RefusedError(Exception):
    """A request that gets an error object."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ChatServer:
    """The handlers: one model, one request at a time.

    tools         offered to requests that bring none
    constrained   hold completions to the tools' grammar
    """

    def __init__(
        self,
        session: LlamaSession,
        tools: Sequence[Tool] = (),
        *,
        api_key: str | None = None,
        constrained: bool = True,
    ) -> None:
        self.session, self.tools, self.model = session, tuple(tools), session.path.stem
        self._key = api_key
        self._constraint = for_llama(session) if constrained else None
        self._lock = threading.Lock()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                *page_routes(self.tools, self._guarded),
                Route("/health", self._health),
                Route("/v1/models", self._guarded(self._models)),
                Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _no_such_place},
        )

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _models(self, _: Request) -> Response:
        entry = {"id": self.model, "object": "model", "created": 0, "owned_by": "edgetool"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def _chat(self, request: Request) -> Response:
        wanted = _parse(await _body(request))
        answer, prompt_tokens = await run_in_threadpool(self._answer, wanted)
        if not wanted.stream:
            return JSONResponse(completion_object(answer, self.model, prompt_tokens))
        usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        chunks = completion_chunks(answer, self.model, prompt_tokens, usage)
        return StreamingResponse(_events(chunks), media_type="text/event-stream")

    def _answer(self, wanted: ChatRequest) -> tuple[Answer, int]:
        """The model's answer and the prompt's length. Raises _RefusedError."""
        messages = [message.as_message() for message in wanted.messages]
        try:
            tools, required = wanted.choose(self.tools)
            with self._lock:  # llama.cpp and the grammar cache serve one thread
                prompt_ids = self.session.prompter.ids(messages, tools)
                constraint = None
                if self._constraint is not None:
                    constraint = self._constraint(tools, required=required)
                done = self.session.generate(prompt_ids, wanted.sampling(), constraint)
        except (EdgetoolError, ValueError) as error:
            raise _RefusedError(400, str(error)) from error
        return read_answer(self.session, done, tools), len(prompt_ids)

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                self._admit(request)
                return await handler(request)
            except _RefusedError as refused:
                return JSONResponse(error_object(str(refused)), refused.status)

        return guarded

    def _admit(self, request: Request) -> None:
        if self._key is None:
            if not is_loopback(request.url.hostname or ""):
                raise _RefusedError(403, "this server answers only to localhost")
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._key}".encode()):
            raise _RefusedError(
                401, "wrong or missing API key; send it as 'Authorization: Bearer KEY'"
            )


async def _no_such_place(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in OpenAI's form; clients show the message."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(error_object(message), error.status_code, headers=error.headers)


async def _body(request: Request) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise _RefusedError(415, "send the body as application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise _RefusedError(413, f"the body is larger than {MAX_BODY} bytes")
    return bytes(body)


def _parse(body: bytes) -> ChatRequest:
    try:
        value = loads(body.decode("utf-8"))
        if value is INVALID:
            raise _RefusedError(400, "the body is not JSON, or is nested too deep")
        return ChatRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise _RefusedError(400, f"{place}: {first['msg']}") from error
    except UnicodeDecodeError as error:
        raise _RefusedError(400, f"the body is not UTF-8: {error}") from error


def _events(chunks: Iterator[dict[str, Any]]) -> Iterator[str]:
    for chunk in chunks:
        yield f"data: {dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError when the port is taken or the host is not here."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            f"choose another with --port or --host"
        ) from error


def serve(
    session: LlamaSession,
    *,
    host: str = HOST,
    port: int = PORT,
    tools: Sequence[Tool] = (),
    api_key: str | None = None,
    constrained: bool = True,
) -> None:
    """Serve until interrupted.

    Raises UsageError for a host others can reach without `api_key`, and for a busy port.
    """
    if not is_loopback(host) and not api_key:
        raise UsageError(
            f"--host {host} lets others use this server; give --api-key KEY, or leave --host away"
        )
    server = ChatServer(session, tools, api_key=api_key, constrained=constrained)
    config = uvicorn.Config(server.app(), log_level="warning", access_log=False)
    with bind(host, port) as listening:
        uvicorn.Server(config).run(sockets=[listening])
