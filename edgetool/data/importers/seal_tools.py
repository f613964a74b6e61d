"""Seal-Tools (arXiv:2405.08355): {"query", "calling": [{"api", "parameters"}]}, with tool.jsonl.

A row offers the tools it calls; `edgetool data mix --distractors` adds others. Rows where a call
takes another call's result (API_call_0) are left out: the value is not known in that turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import JsonObject
from edgetool.data.check import Problem, mapping, require_text
from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import said
from edgetool.errors import UsageError

NAME = "seal-tools"
ABOUT = "Seal-Tools: query and calling, with tool.jsonl beside"
_CATALOGUE = "tool.jsonl"
_RESULT = '"API_call_'


def recognises(record: dict[str, Any]) -> bool:
    return {"query", "calling"} <= set(record)


def is_companion(path: Path) -> bool:
    return path.name in (_CATALOGUE, "field.jsonl")


def companions(path: Path) -> dict[str, JsonObject]:
    """Tools by name, from the file beside the rows."""
    catalogue = path.with_name(_CATALOGUE)
    if not catalogue.is_file():
        raise UsageError(
            f"{path}: Seal-Tools' rows need {_CATALOGUE} beside them, with their tools"
        )
    lines = catalogue.read_text(encoding="utf-8").splitlines()
    tools = (json.loads(line) for line in lines if line.strip())
    return {tool["api_name"]: tool for tool in tools}


def drafts(record: dict[str, Any], companions: dict[str, JsonObject]) -> Iterator[Draft]:
    calls = []
    for i, value in enumerate(json_list("calling", record["calling"])):
        call = mapping(f"calling[{i}]", value)
        if call.get("api") not in companions:
            raise Problem(f"calling[{i}].api", call.get("api"), f"is not in {_CATALOGUE}")
        if _RESULT in dumps(call.get("parameters")):
            raise Problem(
                f"calling[{i}].parameters", call["parameters"], "has a call's result in it"
            )
        calls.append({"name": call["api"], "arguments": call.get("parameters") or {}})
    needed = {call["name"]: companions[call["name"]] for call in calls}
    services = {name: str(tool.get("field", "")).partition("/")[0] for name, tool in needed.items()}
    messages = [said("user", require_text("query", record["query"]))]
    metadata = {"id": record.get("id"), "services": services}
    yield Draft(messages, list(needed.values()), calls, metadata=metadata)
