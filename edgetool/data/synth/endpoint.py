"""Requests written by a model behind any OpenAI-compatible endpoint.

We draw the call, so that values are spread as the schema allows; the model only writes what
somebody would say who wants it. An utterance that leaves a value out is no use, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgetool import openai_client
from edgetool.calls.json_text import INVALID, dumps, loads
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import UsageError

_SYSTEM = (
    "You write what people say to an assistant. You are given a tool and one call's arguments. "
    "Write the requests of different people who want exactly this call: natural, varied in wording "
    "and length, each naming every argument's value as it is spelled. Do not name the tool. "
    'Reply with JSON only: {"utterances": ["...", "..."]}'
)


@dataclass(frozen=True)
class Endpoint:
    """url: such as http://127.0.0.1:8000/v1. timeout in seconds, for one request."""

    url: str
    model: str
    api_key: str | None = None
    temperature: float = 1.0
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UsageError(f"--endpoint {self.url} must begin with http:// or https://")


class Writer:
    """A connection to the endpoint. Use it as a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client = openai_client.connect(
            endpoint.url, endpoint.api_key, seconds=endpoint.timeout, retries=0
        )

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def utterances(self, tool: Tool, arguments: JsonObject, count: int, seed: int) -> list[str]:
        """What the endpoint wrote, [] when its words are not the JSON that was asked for.

        Raises EngineError when the endpoint cannot be reached or refuses.
        """
        asked = {"tool": tool.as_openai()["function"], "arguments": arguments, "utterances": count}
        body = {
            "model": self.endpoint.model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": dumps(asked)},
            ],
            "temperature": self.endpoint.temperature,
            "seed": seed,
        }
        with openai_client.asking(self.endpoint.url):
            choice, _ = openai_client.chat(self._client, body)
        content = choice["message"].get("content")
        return read_utterances(content)[:count] if isinstance(content, str) else []


def read_utterances(text: str) -> list[str]:
    """The utterances in a completion: the object asked for, or the first one in its words."""
    start, end = text.find("{"), text.rfind("}")
    value = loads(text[start : end + 1]) if 0 <= start < end else INVALID
    listed = value.get("utterances") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        return []
    return [" ".join(line.split()) for line in listed if isinstance(line, str) and line.strip()]


def unsaid(utterance: str, arguments: JsonObject) -> list[str]:
    """The text and number arguments whose value the utterance does not hold, in any case."""
    spoken = utterance.casefold()
    missing = []
    for name, value in arguments.items():
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        if plain and str(value).casefold() not in spoken:
            missing.append(name)
    return missing
