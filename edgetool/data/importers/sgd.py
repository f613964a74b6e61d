"""Schema-Guided Dialogue (arXiv:1909.05855): a row for each call of a service; schema.json beside.

A dialogue offers every intent of its services. Slots with listed values become enums, to which an
optional slot's default belongs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import JsonObject, Message
from edgetool.data.check import Problem, require_text
from edgetool.data.draft import Draft, json_list
from edgetool.data.importers.conversation import calling, said, turns
from edgetool.errors import UsageError

NAME = "sgd"
ABOUT = "Schema-Guided Dialogue, with schema.json beside"
_SCHEMA = "schema.json"


def recognises(record: dict[str, Any]) -> bool:
    return {"dialogue_id", "services", "turns"} <= set(record)


def is_companion(path: Path) -> bool:
    return path.name == _SCHEMA


def companions(path: Path) -> dict[str, JsonObject]:
    """Services by name, from the schema beside the dialogues."""
    schema = path.with_name(_SCHEMA)
    if not schema.is_file():
        raise UsageError(f"{path}: SGD's dialogues need {_SCHEMA} beside them, with their services")
    return {entry["service_name"]: entry for entry in json.loads(schema.read_text("utf-8"))}


def drafts(record: dict[str, Any], companions: dict[str, JsonObject]) -> Iterator[Draft]:
    unknown = [name for name in record["services"] if name not in companions]
    if unknown:
        raise Problem("services", unknown[0], f"is not in {_SCHEMA}")
    named = _names({name: companions[name] for name in record["services"]})
    tools = [_tool(companions[service], intent, name) for (service, intent), name in named.items()]
    messages: list[Message] = []
    for i, turn in enumerate(json_list("turns", record["turns"])):
        messages += _messages(f"turns[{i}]", turn, named)
    services = {name: service for (service, _), name in named.items()}
    yield from turns(messages, tools, {"id": record["dialogue_id"], "services": services})


def _names(services: dict[str, JsonObject]) -> dict[tuple[str, str], str]:
    """(service, intent) -> the tool's name: the intent's, with the service where two share it."""
    intents = [
        (name, intent["name"]) for name, one in services.items() for intent in one["intents"]
    ]
    shared = Counter(intent for _, intent in intents)
    return {(s, intent): f"{s}_{intent}" if shared[intent] > 1 else intent for s, intent in intents}


def _tool(service: JsonObject, intent_name: str, name: str) -> JsonObject:
    intent = next(one for one in service["intents"] if one["name"] == intent_name)
    slots = {slot["name"]: slot for slot in service["slots"]}
    required, optional = list(intent["required_slots"]), intent["optional_slots"]
    properties = {slot: _property(slots[slot]) for slot in required}
    properties |= {slot: _property(slots[slot], optional[slot]) for slot in optional}
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": intent["description"], "parameters": parameters}


def _property(slot: JsonObject, default: str | None = None) -> JsonObject:
    """A slot's schema. Calls give an optional one its default, often "dontcare"."""
    schema: JsonObject = {"type": "string", "description": slot["description"]}
    if slot.get("is_categorical") and slot.get("possible_values"):
        values = [*slot["possible_values"], *([default] if default else [])]
        schema["enum"] = list(dict.fromkeys(values))
    return schema


def _messages(field: str, turn: JsonObject, named: dict[tuple[str, str], str]) -> list[Message]:
    """A turn of the user, or of the system: the call it made first, its result, what it said."""
    text = require_text(f"{field}.utterance", turn["utterance"])
    if turn["speaker"] == "USER":
        return [said("user", text)]
    frames = [frame for frame in turn.get("frames", []) if "service_call" in frame]
    if not frames:
        return [said("assistant", text)]
    calls = [
        {
            "name": named.get((frame["service"], frame["service_call"]["method"]), ""),
            "arguments": frame["service_call"]["parameters"],
        }
        for frame in frames
    ]
    results = [said("tool", dumps(frame.get("service_results", []))) for frame in frames]
    return [calling(calls), *results, said("assistant", text)]
