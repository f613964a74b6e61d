"""A streamed answer: server-sent events, the first of them when the engine has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgetool.calls.json_text import dumps
from edgetool.calls.types import JsonObject
from edgetool.errors import EdgetoolError
from edgetool.llama.protocol import Delta
from edgetool.server.completions import Choice, OnDelta, Piece, unless
from edgetool.server.errors import failure
from edgetool.server.responses import Reply, trace

Write = Callable[[OnDelta], Awaitable[list[Choice]]]
_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}


class EventStream(Response):
    """A response that sends what `write` passes to `on_delta`.

    The status waits for the engine's first word, so that what is refused before has a status of its
    own: until then errors are raised. A later one is an event, and the stream has no [DONE].
    """

    def __init__(self, write: Write, reply: Reply, *, include_usage: bool) -> None:
        super().__init__()
        self._write, self._reply, self._include_usage = write, reply, include_usage
        self._turn = asyncio.Lock()
        self._started = False
        self._opened: set[int] = set()  # choices whose first chunk is out
        self._unsaid: dict[int, Delta] = {}  # choice -> what was written without saying anything

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        try:
            await unless(disconnected(receive), self._stream())
        except ClientDisconnect:
            if not self._started:
                raise

    async def _stream(self) -> None:
        try:
            choices = await self._write(self._on_delta)
            for choice in choices:
                await self._open(choice.index)
                await self._say(self._reply.closing(choice))
            if self._include_usage:
                await self._say(self._reply.summing_up(choices))
            await self._say_text("[DONE]")
        except EdgetoolError as error:
            if not self._started:
                raise
            await self._say(failure(error).body)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _on_delta(self, index: int, pieces: Sequence[Piece], delta: Delta | None) -> None:
        await self._open(index)
        before = self._unsaid.pop(index, Delta("", 0))
        written = before if delta is None else _joined(before, delta)
        if not pieces:
            self._unsaid[index] = written
            return
        await self._say({**self._reply.piece(index, pieces), "edgetool": trace(written)})

    async def _open(self, index: int) -> None:
        if index not in self._opened:
            self._opened.add(index)
            await self._say(self._reply.opening(index))

    async def _say(self, event: JsonObject) -> None:
        await self._say_text(dumps(event))

    async def _say_text(self, text: str) -> None:
        async with self._turn:  # choices are written side by side
            if not self._started:
                self._started = True
                headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                start = {"type": "http.response.start", "status": 200, "headers": headers}
                await self._send(start)
            body = f"data: {text}\n\n".encode()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


async def disconnected(receive: Receive) -> Exception:
    """Returns once the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    return ClientDisconnect()


def _joined(one: Delta, other: Delta) -> Delta:
    return Delta(
        one.text + other.text,
        one.tokens + other.tokens,
        one.forced + other.forced,
        one.drafted + other.drafted,
    )
