"""NVIDIA's Nemotron post-training rows: OpenAI's messages, the tools inside `metadata`.

`metadata` is an object or its JSON text, and so are the tools in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.data.check import Problem, mapping
from edgetool.data.draft import Draft, json_list, json_value
from edgetool.data.importers.conversation import openai_messages, turns

NAME = "nemotron"
ABOUT = "Nemotron post-training rows: messages, and tools inside metadata"
_TOOLS = ("tools", "functions", "available_tools")


def recognises(record: dict[str, Any]) -> bool:
    if "messages" not in record or record.get("tools"):
        return False
    try:
        return _tools(record.get("metadata")) is not None
    except Problem:
        return False


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    tools = json_list("metadata.tools", _tools(record["metadata"]))
    metadata = {"id": record.get("uuid", record.get("id"))}
    yield from turns(openai_messages(record["messages"]), tools, metadata)


def _tools(metadata: Any) -> Any:
    if isinstance(metadata, str):
        metadata = json_value("metadata", metadata)
    held = mapping("metadata", metadata)
    return next((held[name] for name in _TOOLS if held.get(name)), None)
