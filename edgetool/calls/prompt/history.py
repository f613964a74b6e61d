"""Calls in a conversation's history: arguments come as an object or as its JSON text.

OpenAI sends text, "" for a call without arguments; chat templates want the object. A prompt must
not depend on which of them a row or a client holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgetool.calls.json_text import dumps, loads
from edgetool.calls.types import Message


def with_objects(messages: Sequence[Message]) -> list[Message]:
    """The messages with every call's arguments as an object, as chat templates take them.

    No arguments, "" and null mean {}. Text that is no JSON object stays as it is: whoever wrote it
    could not be read by its client either.
    """
    return [_rewritten(message, as_object) for message in messages]


def with_text(messages: Sequence[Message]) -> list[Message]:
    """The messages with every call's arguments as JSON text, as OpenAI's API takes them."""
    return [_rewritten(message, _as_text) for message in messages]


def _rewritten(message: Message, change: Callable[[Any], Any]) -> Message:
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple):
        return message
    return {**message, "tool_calls": [_changed(call, change) for call in calls]}


def _changed(call: Any, change: Callable[[Any], Any]) -> Any:
    """A call in OpenAI's form, or the bare function; what is neither stays as it is."""
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _changed(call["function"], change)}
    return {**call, "arguments": change(call.get("arguments"))} if "name" in call else call


def as_object(arguments: Any) -> Any:
    """A call's arguments as an object, also where they are text or, as some data sets have it,
    the text of a text; what is no object stays as it is."""
    if arguments is None:
        return {}
    if not isinstance(arguments, str):
        return arguments
    value = loads(arguments) if arguments.strip() else None
    if value is None:
        return {}
    if isinstance(value, str):
        value = loads(value)
    return value if isinstance(value, dict) else arguments


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else dumps(arguments or {})
