"""Bytes from a stranger -> a request, or a BadRequest that names the field.

A field that OpenAI's API does not have is refused, as OpenAI refuses it: a typing mistake must not
change what is written unseen. What it has and we do not offer is refused where it asks for
something.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import ValidationError

from edgetool.calls.formats.base import INVALID, dumps, loads
from edgetool.calls.types import JsonObject
from edgetool.serve.openai_types import BadRequest, WritingRequest

# Fields that change nothing about what one model on this machine writes.
NO_MATTER = frozenset(
    "metadata prediction prompt_cache_key prompt_cache_options prompt_cache_retention "
    "reasoning_effort safety_identifier service_tier store user verbosity".split()
)
# Fields we do not offer -> values that ask for nothing.
NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "presence_penalty": (None, 0),
    "suffix": (None, ""),
    "top_logprobs": (None, 0),
    "web_search_options": (None,),
}
_SHOWN = 80  # characters of a field's name

Wanted = TypeVar("Wanted", bound=WritingRequest)


def read_request(kind: type[Wanted], body: bytes) -> Wanted:
    """Raises BadRequest for a body that is not such a request."""
    value = _json(body)
    _require_known(kind, value)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = _place(first["loc"], value, missing=first["type"] == "missing")
        message = first["msg"].removeprefix("Value error, ")
        raise BadRequest(f"{place}: {message}" if place else message, place or None) from error


def _json(body: bytes) -> JsonObject:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error}") from error
    value = loads(text)
    if value is INVALID:
        raise BadRequest("the body is not JSON, or is nested too deep")
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    if "\\ud" in text.lower() and _half_a_character(value):
        raise BadRequest("the body holds half a character (a lone surrogate), which no text has")
    return value


def _half_a_character(value: JsonObject) -> bool:
    try:
        dumps(value).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _require_known(kind: type[WritingRequest], body: JsonObject) -> None:
    for name, given in body.items():
        if name in kind.model_fields or name in NO_MATTER:
            continue
        if name not in NOT_OFFERED:
            near = difflib.get_close_matches(name[:_SHOWN], kind.model_fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            name = name[:_SHOWN]
            raise BadRequest(f"unknown field '{name}'{hint}", name, "unknown_parameter")
        if given not in NOT_OFFERED[name]:
            raise BadRequest(f"'{name}' is not offered here; leave it away", name)


def _place(loc: tuple[int | str, ...], body: Any, *, missing: bool) -> str:
    """Where in a body: ("messages", 0, "content", "str") -> "messages[0].content".

    pydantic also names the alternative of a union it tried, which is no part of the body.
    """
    text, value = "", body
    for part in loc:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            text, value = f"{text}[{part}]", value[part]
        elif isinstance(value, dict) and (part in value or (missing and part == loc[-1])):
            text, value = f"{text}.{part}", value.get(part)
    return text.removeprefix(".")
