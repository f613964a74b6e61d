"""The one client of servers that speak OpenAI's API: evaluation, rollouts and synthesis ask by it.

What a server answers is a stranger's data: whatever is wrong with it is an EngineError in one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgetool.calls.json_text import loads
from edgetool.calls.types import JsonObject
from edgetool.errors import EngineError

if TYPE_CHECKING:
    import openai

SECONDS = 600.0  # that a server may take for one request
RETRIES = 2  # after a lost connection, and where the server is busy
_SHOWN = 200  # characters of what a server says is wrong


def environment_key() -> str | None:
    return os.environ.get("OPENAI_API_KEY")


def connect(
    url: str, api_key: str | None, *, seconds: float = SECONDS, retries: int = RETRIES
) -> openai.OpenAI:
    """A client of the server at `url` (".../v1"), which is not asked anything yet."""
    import openai

    key = api_key or "none"  # local servers ask for none
    return openai.OpenAI(base_url=url, api_key=key, timeout=seconds, max_retries=retries)


@contextmanager
def asking(where: str = "") -> Iterator[None]:
    """The client's errors are EngineErrors that say why, behind `where`."""
    import openai

    try:
        yield
    except openai.OpenAIError as error:
        raise EngineError(": ".join(filter(None, (where, _reason(error))))) from error


def _reason(error: openai.OpenAIError) -> str:
    import openai

    name = type(error).__name__
    if isinstance(error, openai.APIStatusError):
        text = error.body if isinstance(error.body, str) and error.body else str(error)
        return f"{name} {error.status_code}: {text[:_SHOWN]}"
    if isinstance(error, openai.APIConnectionError) and name == "APIConnectionError":
        return f"{name}: the server cannot be reached; is it up?"
    return f"{name}: {error}"


def chat(client: openai.OpenAI, request: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The first choice of a chat completion, with its message, and the whole answer.

    Raises EngineError for an answer that is none, and openai's errors: see `asking`.
    """
    answer = loads(client.post("/chat/completions", body=request, cast_to=str))
    try:
        choice = answer["choices"][0]
        if isinstance(choice["message"], dict):
            return choice, answer
    except (LookupError, TypeError):
        pass
    raise EngineError(f"{client.base_url} did not answer as a chat completion")
