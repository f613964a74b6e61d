"""ShareGPT with tools, as LLaMA-Factory writes it: turns human, gpt, function_call, observation.

Hermes' own data is read too: calls inside <tool_call> tags in the assistant's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.calls.types import Message
from edgetool.data.check import Problem, require_text
from edgetool.data.draft import Draft, call_of, json_list
from edgetool.data.importers.conversation import (
    calling,
    require_only_text,
    said,
    spoken,
    turns,
)
from edgetool.data.importers.plain import EVALUATION_ONLY, companions, is_companion

__all__ = ["EVALUATION_ONLY", "companions", "is_companion"]

NAME = "sharegpt"
ABOUT = "ShareGPT conversations with function_call and observation turns"
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response", "tool_response"), "tool"),
    "system": "system",
}
_CALLING = ("function_call", "tool_call")


def recognises(record: dict[str, Any]) -> bool:
    return isinstance(record.get("conversations"), list) and "tools" in record


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    require_only_text(record)
    conversation = json_list("conversations", record["conversations"])
    messages = [_message(f"conversations[{i}]", turn) for i, turn in enumerate(conversation)]
    if record.get("system") and messages[:1] and messages[0]["role"] != "system":
        messages.insert(0, said("system", require_text("system", record["system"])))
    metadata = {"id": record["id"]} if "id" in record else {}
    yield from turns(messages, json_list("tools", record["tools"] or []), metadata)


def _message(field: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise Problem(field, turn, "must be a JSON object")
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    text = require_text(f"{field}.value", text)
    if speaker in _CALLING:
        listed = json_list(f"{field}.value", text)
        return calling([call_of(f"{field}.value[{i}]", call) for i, call in enumerate(listed)])
    if speaker not in _ROLES:
        raise Problem(f"{field}.from", speaker, f"must be one of {', '.join([*_ROLES, *_CALLING])}")
    if _ROLES[speaker] == "assistant":
        return spoken(f"{field}.value", text)
    return said(_ROLES[speaker], text)
