"""The OpenAI-compatible server. It never runs a tool: it only says which calls the model makes.

Any page in a browser can send requests to a loopback port. Without an API key, only JSON bodies
(which a page of another origin may not send unasked) to a loopback name (no DNS rebinding) count.
No model is in this process: whatever a stranger sends goes to the engine's as plain text.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EdgetoolError
from edgetool.llama.protocol import Delta, Job, Writer
from edgetool.server.bodies import read_request
from edgetool.server.completions import Choice, OnDelta, Piece, unless, write_choices
from edgetool.server.errors import SERVER_ERROR, Failure, Refused, failure
from edgetool.server.listen import is_loopback
from edgetool.server.metrics import MEDIA_TYPE, Counted, Metrics, Watch
from edgetool.server.requests import ChatRequest, CompletionRequest, WritingRequest
from edgetool.server.responses import ChatReply, Reply, TextReply
from edgetool.server.sse import EventStream, disconnected

MAX_BODY = 4 * 2**20
LARGE_BODY = 64 * 2**10
GONE = 499  # as nginx counts clients that did not wait; nobody reads it

Handler = Callable[[Request], Awaitable[Response]]


class ChatServer:
    """The handlers, for one model.

    model         what clients are told it is called
    tools         what the page begins with
    offer_tools   offer them to requests that bring none; else such a request has no tools
    """

    def __init__(
        self,
        writer: Writer,
        model: str,
        tools: Sequence[Tool] = (),
        *,
        api_key: str | None = None,
        offer_tools: bool = False,
    ) -> None:
        self.writer, self.model, self.tools = writer, model, tuple(tools)
        self.offered = self.tools if offer_tools else ()
        self.metrics = Metrics()
        self._key = None if api_key is None else f"Bearer {api_key}".encode()

    def app(self, routes: Sequence[Route] = ()) -> ASGIApp:
        """The ASGI application, with more `routes` beside the API's."""
        guarded = self.guarded
        own = [
            Route("/health", self._health),
            Route("/metrics", guarded(self._metrics)),
            Route("/props", guarded(self._props)),
            Route("/v1/models", guarded(self._models)),
            Route("/v1/models/{model:path}", guarded(self._one_model)),
            Route("/v1/chat/completions", guarded(self._chat), methods=["POST"]),
            Route("/v1/completions", guarded(self._complete), methods=["POST"]),
        ]
        app = Starlette(
            routes=[*own, *routes],
            exception_handlers={
                HTTPException: _no_such_place,
                EdgetoolError: _failed,
                ClientDisconnect: _gone,
                Exception: _broken,
            },
        )
        return Counted(app, self.metrics, frozenset(route.path for route in (*own, *routes)))

    def guarded(self, handler: Handler) -> Handler:
        """The handler behind the check of key and host."""

        async def handle(request: Request) -> Response:
            self._admit(request)
            return await handler(request)

        return handle

    def _admit(self, request: Request) -> None:
        if self._key is None:
            if not is_loopback(request.url.hostname or ""):
                raise Refused(403, "this server answers only to localhost")
            return
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._key):
            raise Refused(401, "wrong or missing API key; send it as 'Authorization: Bearer KEY'")

    async def _health(self, _: Request) -> Response:
        trouble = self.writer.trouble
        if trouble is not None:
            return JSONResponse({"status": "down", "reason": trouble}, 503)
        return JSONResponse({"status": "ok"})

    async def _metrics(self, _: Request) -> Response:
        return Response(self.metrics.text(), media_type=MEDIA_TYPE)

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._entry()]})

    async def _one_model(self, request: Request) -> Response:
        model = request.path_params["model"]
        if model != self.model:
            raise HTTPException(404, f"no model '{model}' here, only '{self.model}'")
        return JSONResponse(self._entry())

    def _entry(self) -> JsonObject:
        about = {
            "context": self.writer.context,
            "call_syntax": self.writer.syntax,
            "chat_template": self._template(),
        }
        head = {"id": self.model, "object": "model", "created": 0, "owned_by": "edgetool"}
        return {**head, "edgetool": about}

    def _template(self) -> JsonObject:
        """Which template is in use, and what it took the place of."""
        used = self.writer.chat_template
        return {"name": used.name, "replaced": used.replaced, "note": used.note}

    async def _props(self, _: Request) -> Response:
        """What llama-server says there, as far as it is known here."""
        return JSONResponse(
            {
                "model_alias": self.model,
                "default_generation_settings": {"n_ctx": self.writer.context},
                "chat_template": self.writer.chat_template.text,
                "edgetool": self._entry()["edgetool"],
            }
        )

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, ChatRequest, ChatReply(self.model))

    async def _complete(self, request: Request) -> Response:
        return await self._answer(request, CompletionRequest, TextReply(self.model))

    async def _answer(self, request: Request, kind: type[WritingRequest], reply: Reply) -> Response:
        watch = Watch(self.metrics)
        parsed, jobs = await self._read(kind, await _body(request))
        if parsed.stream:
            write = partial(self._write, jobs, watch)
            return EventStream(write, reply, include_usage=parsed.include_usage)
        return JSONResponse(
            reply.whole(await unless(disconnected(request.receive), self._write(jobs, watch)))
        )

    async def _read(
        self, kind: type[WritingRequest], body: bytes
    ) -> tuple[WritingRequest, list[Job]]:
        """What a body asks for. A large one is read beside the event loop: streams go on."""

        def read() -> tuple[WritingRequest, list[Job]]:
            parsed = read_request(kind, body)
            return parsed, parsed.jobs(self.offered, self.writer.context)

        return read() if len(body) < LARGE_BODY else await asyncio.to_thread(read)

    async def _write(
        self, jobs: Sequence[Job], watch: Watch, on_delta: OnDelta | None = None
    ) -> list[Choice]:
        """Do the jobs and count them."""

        async def counted(index: int, pieces: Sequence[Piece], delta: Delta | None) -> None:
            watch.first_token()
            if on_delta is not None:
                await on_delta(index, pieces, delta)

        with self.metrics.in_progress.track_inprogress():
            choices = await write_choices(self.writer, jobs, counted)
        watch.over(choices)
        return choices


async def _body(request: Request) -> bytes:
    """The body. One that is too large is read to its end, or the client would not hear why."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "application/json":
        raise Refused(415, "send the body with the header 'Content-Type: application/json'")
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY:
            body += part
    if size > MAX_BODY:
        raise Refused(413, f"the body has {size} bytes, more than {MAX_BODY}")
    return bytes(body)


async def _no_such_place(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in OpenAI's form; clients show the message."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(Failure(error.status_code, message), error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, EdgetoolError)
    return _answer(failure(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=GONE)


async def _broken(_: Request, error: Exception) -> Response:
    """A mistake of ours, which the log has in full."""
    return _answer(Failure(500, f"edgetool made a mistake: {type(error).__name__}", SERVER_ERROR))


def _answer(refused: Failure, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(
        refused.body, refused.status, headers={**refused.headers, **(headers or {})}
    )
