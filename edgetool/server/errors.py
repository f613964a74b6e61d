"""Errors as a client gets them: a status and OpenAI's error object."""

from __future__ import annotations

from dataclasses import dataclass

from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.types import JsonObject
from edgetool.errors import (
    Busy,
    EdgetoolError,
    EngineError,
    ModelError,
    PromptTooLong,
    UsageError,
)
from edgetool.server.requests import BadRequest

INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"
RETRY_SECONDS = 1


@dataclass(frozen=True)
class Failure:
    status: int
    message: str
    kind: str = INVALID_REQUEST
    param: str | None = None
    code: str | None = None
    retry_seconds: int = RETRY_SECONDS

    @property
    def body(self) -> JsonObject:
        about = {"type": self.kind, "param": self.param, "code": self.code}
        return {"error": {"message": self.message, **about}}

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_seconds)} if self.status == 503 else {}


class Refused(EdgetoolError):
    """A request that is not let in."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def failure(error: EdgetoolError) -> Failure:
    """What a client is told of an error: 400 where the request is at fault, 503 where the engine
    is, which may do better soon."""
    text = str(error)
    if isinstance(error, Refused):
        return Failure(error.status, text)
    if isinstance(error, BadRequest):
        return Failure(400, text, param=error.param, code=error.code)
    if isinstance(error, PromptTooLong):
        return Failure(400, text, code="context_length_exceeded")
    # A ModelError in a server that runs: the template refuses this conversation.
    if isinstance(error, UsageError | ModelError | SchemaError):
        return Failure(400, text)
    if isinstance(error, EngineError):
        code = "engine_overloaded" if isinstance(error, Busy) else "engine_failed"
        return Failure(503, text, SERVER_ERROR, code=code, retry_seconds=error.retry_seconds)
    return Failure(500, text, SERVER_ERROR)
