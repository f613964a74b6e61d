"""Where the server listens, and how long it waits for a client that dawdles."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgetool.errors import UsageError

HOST, PORT = "127.0.0.1", 8080
# A request has to be in, and what was said taken up, within this time.
PATIENCE_SECONDS = 30.0
_NEXT_PORTS = 100  # how many are tried to name a free one


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError when the port is taken or the host is not here."""
    try:
        if not 0 <= port < 2**16:  # getaddrinfo would take the rest of a division
            raise OverflowError("a port is a number from 0 to 65535")
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        # Python adds to the system's words where it was; the message says so already
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}; {_instead(host, port)}"
        ) from error


def _instead(host: str, port: int) -> str:
    """What to type when a port cannot be had."""
    for other in range(port + 1, min(port + _NEXT_PORTS, 2**16)):
        with contextlib.suppress(OSError), socket.create_server((host, other)):
            return f"{other} is free: --port {other}"
    return "choose another with --port or --host"


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits for ever for the rest of a request, or for a
    client to read on.

    A connection that is cut looks to the application like a client that went away.
    """

    patience = PATIENCE_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Whatever the system does not take at once counts as not taken up.
        transport.set_write_buffer_limits(high=0)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self._cut_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        _stop(self._writing)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._reading)
        _stop(self._writing)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server is told to end: nobody is waited for."""
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()

    def _expect_request(self) -> None:
        """The clock runs as long as a request is not wholly in."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            _stop(self._reading)
            self._reading = None
        elif self._reading is None and not self.transport.is_closing():
            self._reading = self._cut_later()

    def _cut_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.patience, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def server(app: Any, *, patience: float = PATIENCE_SECONDS) -> uvicorn.Server:
    """A server for an ASGI application; `run(sockets=[...])` serves until interrupted.

    patience   seconds a client has for its request, and for taking up what it is told
    """
    protocol = type("Protocol", (PatientProtocol,), {"patience": patience})
    config = uvicorn.Config(
        app, http=protocol, ws="none", log_level="error", access_log=False, lifespan="off"
    )
    return uvicorn.Server(config)
