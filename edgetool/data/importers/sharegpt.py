"""ShareGPT with tools, as LLaMA-Factory writes it: turns human, gpt, function_call, observation.

A thought may stand before a call. Hermes' own data is read too, and Glaive's in this form: calls
between tags in the assistant's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.calls.types import Message
from edgetool.data.check import Problem, require_text, text_of_parts
from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import (
    CALLING,
    ROLES,
    require_only_text,
    said,
    spoken,
    turns,
    written_calls,
)
from edgetool.data.importers.tagged import lists_tools

NAME = "sharegpt"
ABOUT = "ShareGPT conversations with function_call and observation turns"


def recognises(record: dict[str, Any]) -> bool:
    turns = record.get("conversations")
    if not isinstance(turns, list):
        return False
    return "tools" in record or _lists_tools(record.get("system"), *turns[:1])


def _lists_tools(*places: Any) -> bool:
    """Whether the system message, a text or the first turn, lists the tools."""
    texts = [place.get("value") if isinstance(place, dict) else place for place in places]
    return any(isinstance(text, str) and lists_tools(text) for text in texts)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    require_only_text(record)
    conversation = json_list("conversations", record["conversations"])
    messages = [_message(f"conversations[{i}]", turn) for i, turn in enumerate(conversation)]
    if record.get("system") and messages[:1] and messages[0]["role"] != "system":
        messages.insert(0, said("system", require_text("system", record["system"])))
    metadata = {"id": record["id"]} if "id" in record else {}
    yield from turns(messages, json_list("tools", record.get("tools") or []), metadata)


def _message(field: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        remedy = 'must be a turn such as {"from": "human", "value": "..."}'
        raise Problem(field, turn, remedy)
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    text = require_text(f"{field}.value", text_of_parts(f"{field}.value", text))
    if speaker in CALLING:
        return written_calls(f"{field}.value", text)
    if speaker not in ROLES:
        raise Problem(f"{field}.from", speaker, f"must be one of {', '.join([*ROLES, *CALLING])}")
    if ROLES[speaker] == "assistant":
        return spoken(f"{field}.value", text)
    return said(ROLES[speaker], text)
