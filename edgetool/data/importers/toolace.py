"""ToolACE (arXiv:2409.00920): tools as JSON in the system prompt, calls as [Name(key=value)]."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edgetool.calls.types import Message
from edgetool.data.check import Problem, require_text
from edgetool.data.draft import Draft, json_list
from edgetool.data.importers import python_calls
from edgetool.data.importers.conversation import LEFT_TOOLS, calling, said, turns

NAME = "toolace"
ABOUT = "ToolACE: tools in the system prompt, calls as [Name(key=value)]"
_ANNOUNCEMENT = "functions in JSON format"
_ROLES = {"user": "user", "human": "user", "tool": "tool", "assistant": "assistant"}


def recognises(record: dict[str, Any]) -> bool:
    system = record.get("system")
    listed = isinstance(system, str) and _ANNOUNCEMENT in system
    return listed and isinstance(record.get("conversations"), list)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    conversation = json_list("conversations", record["conversations"])
    messages = [_message(f"conversations[{i}]", turn) for i, turn in enumerate(conversation)]
    # The prompt says how ToolACE wants calls written. A model's own template says that better.
    tools = _tools(require_text("system", record.get("system")))
    for draft in turns(messages, tools):
        yield replace(draft, left_out=[*draft.left_out, LEFT_TOOLS])


def _tools(system: str) -> list[Any]:
    """The first JSON list of objects after the announcement."""
    start = system.find("[{", max(0, system.find(_ANNOUNCEMENT)))
    try:
        tools, _ = json.JSONDecoder().raw_decode(system, max(0, start))
    except (ValueError, RecursionError):
        raise Problem("system", system, "holds no JSON list of functions") from None
    if not isinstance(tools, list):
        raise Problem("system", system, "holds no JSON list of functions")
    return tools


def _message(field: str, turn: Any) -> Message:
    if not isinstance(turn, dict) or turn.get("from") not in _ROLES:
        raise Problem(field, turn, f'must have "from" as one of {", ".join(_ROLES)}')
    role, text = _ROLES[turn["from"]], require_text(f"{field}.value", turn.get("value"))
    if role == "assistant" and python_calls.is_calls(text):
        return calling(python_calls.parse(f"{field}.value", text))
    return said(role, text)
