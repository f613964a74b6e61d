"""When2Call (NVIDIA), the rows for training: `messages` and `tools`, each tool as its JSON text.

Of a row with preferences the chosen response is the turn to learn, the rejected one is left out.
Calls stand in the assistant's text as <TOOLCALL>[...]</TOOLCALL>.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import openai_messages, turns

NAME = "when2call-train"
ABOUT = "When2Call's rows for training, with or without preferences"
_CHOSEN, _REJECTED = "chosen_response", "rejected_response"


def recognises(record: dict[str, Any]) -> bool:
    if not {"messages", "tools"} <= set(record):
        return False
    if _CHOSEN in record:
        return True
    tools = record["tools"]
    texts = isinstance(tools, list) and bool(tools) and all(isinstance(t, str) for t in tools)
    return set(record) == {"messages", "tools"} and texts


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    listed = json_list("messages", record["messages"])
    chosen = [record[_CHOSEN]] if _CHOSEN in record else []
    messages = openai_messages([*listed, *chosen])
    rejected = ["the rejected responses"] if _REJECTED in record else []
    for draft in turns(messages, json_list("tools", record["tools"])):
        yield replace(draft, left_out=[*draft.left_out, *rejected])
