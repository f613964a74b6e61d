"""Bytes from a stranger -> a request, or a BadRequest that names the field.

A field that nobody knows is refused, as OpenAI refuses it: a typing mistake must not change what is
written unseen. `fields.py` has those that are known and not acted on.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import ValidationError

from edgetool.calls.json_text import INVALID, dumps, loads
from edgetool.calls.types import JsonObject
from edgetool.server.fields import asks_for_nothing, is_known
from edgetool.server.requests import TEMPERATURE, BadRequest, WritingRequest

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
        raise BadRequest("the body is not valid text: it holds half a character (a lone surrogate)")
    return value


def _half_a_character(value: JsonObject) -> bool:
    try:
        dumps(value).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _require_known(kind: type[WritingRequest], body: JsonObject) -> None:
    temperature = body.get("temperature")
    greedy = (TEMPERATURE if temperature is None else temperature) == 0
    for name, given in body.items():
        if name in kind.model_fields or asks_for_nothing(name, given, greedy=greedy):
            continue
        shown = name[:_SHOWN]
        if not is_known(name):
            near = difflib.get_close_matches(shown, kind.model_fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise BadRequest(f"unknown field '{shown}'{hint}", shown, "unknown_parameter")
        raise BadRequest(
            f"'{name}' would change the answer and is not offered here; leave it out", name
        )


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
