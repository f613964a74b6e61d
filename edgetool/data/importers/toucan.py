"""Toucan (arXiv:2510.01179): whole runs of agents with real MCP servers, all columns as text.

`messages` is JSON text: OpenAI's older form (assistant with `function_call`, then `function`), or,
in the split for fine-tuning, the roles tool_call and tool_response, a call as a Python dict.
Calls one after another, with no result between them, were made at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import openai_messages, turns

NAME = "toucan"
ABOUT = "Toucan: agents' runs with MCP servers, messages and tools as JSON text"
_TOOLS = ("available_tools", "tools")


def recognises(record: dict[str, Any]) -> bool:
    return {"uuid", "messages", "target_tools"} <= set(record) and any(
        name in record for name in _TOOLS
    )


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    listed: Any = next((record[name] for name in _TOOLS if record.get(name)), [])
    metadata = {"id": record["uuid"], "subset": record.get("subset_name")}
    yield from turns(openai_messages(record["messages"]), json_list("tools", listed), metadata)
