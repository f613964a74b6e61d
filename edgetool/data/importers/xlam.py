"""xLAM-60k (APIGen, arXiv:2406.18518): {"query", "tools", "answers"}, the last two as JSON text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.data.check import require_text
from edgetool.data.draft import Draft, call_of, json_list
from edgetool.data.importers.conversation import said

NAME = "xlam"
ABOUT = "xLAM function-calling 60k and others with query, tools, answers"


def recognises(record: dict[str, Any]) -> bool:
    return {"query", "tools", "answers"} <= set(record)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    answers = json_list("answers", record["answers"])
    calls = [call_of(f"answers[{i}]", answer) for i, answer in enumerate(answers)]
    messages = [said("user", require_text("query", record["query"]))]
    metadata = {"id": record["id"]} if "id" in record else {}
    yield Draft(messages, json_list("tools", record["tools"]), calls, metadata=metadata)
