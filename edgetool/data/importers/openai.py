"""OpenAI's fine-tuning JSONL and Hugging Face / TRL conversational rows.

`messages` with `tool_calls` (or the older `function_call`), `tools` (or `functions`) as a list or
as its JSON text. TRL also splits a row into `prompt` and `completion`, both lists of messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import openai_messages, require_only_text, turns

NAME = "openai"
ABOUT = "OpenAI fine-tuning and Hugging Face / TRL conversational rows"


def recognises(record: dict[str, Any]) -> bool:
    messages = record.get("messages", record.get("prompt"))
    return isinstance(messages, list) and bool({"tools", "functions"} & set(record))


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    require_only_text(record)
    if "messages" in record:
        messages = openai_messages(record["messages"])
    else:
        ends = (json_list(key, record.get(key) or []) for key in ("prompt", "completion"))
        messages = openai_messages([message for end in ends for message in end])
    tools = json_list("tools", record.get("tools") or record.get("functions") or [])
    metadata = {"id": record["id"]} if "id" in record else {}
    yield from turns(messages, tools, metadata)
