"""Glaive function-calling v2: one text per conversation, with "USER:", "ASSISTANT:" and
"FUNCTION RESPONSE:" turns; calls after <functioncall>, their arguments in single quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from edgetool.calls.types import Message
from edgetool.data.check import Problem, require_text
from edgetool.data.draft import Draft
from edgetool.data.importers.conversation import said, spoken, turns

NAME = "glaive"
ABOUT = "Glaive function-calling v2: system and chat as one text each"
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_TURN = re.compile(r"(?:\A|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):")
_END = "<|endoftext|>"


def recognises(record: dict[str, Any]) -> bool:
    return {"system", "chat"} <= set(record) and isinstance(record["chat"], str)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    chat = require_text("chat", record["chat"])
    pieces = _TURN.split(chat)[1:]
    messages = [_message(*turn) for turn in zip(pieces[::2], pieces[1::2], strict=True)]
    yield from turns(messages, _tools(require_text("system", record["system"])))


def _tools(system: str) -> list[Any]:
    """The JSON objects that follow each other in the system prompt."""
    tools, decoder = [], json.JSONDecoder()
    at = system.find("{")
    while at >= 0:
        try:
            tool, end = decoder.raw_decode(system, at)
        except (ValueError, RecursionError):
            raise Problem("system", system[at:], "is no JSON object of a function") from None
        tools.append(tool)
        at = system.find("{", end)
    return tools


def _message(speaker: str, text: str) -> Message:
    text = text.replace(_END, "").strip()
    return spoken("chat", text) if speaker == "ASSISTANT" else said(_ROLES[speaker], text)
