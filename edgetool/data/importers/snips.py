"""Snips NLU (arXiv:1805.10190): {"<Intent>": [{"data": [{"text", "entity"?}, ...]}, ...]}.

An intent becomes a tool and its entities arguments, whose values are spans of the utterance. The
benchmark's seven intents take the names and descriptions of the bundled demo tools, all of them on
offer; an intent of one's own becomes a tool of its own, with the entities that its file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgetool.calls.types import JsonObject
from edgetool.data.draft import Draft
from edgetool.data.importers.conversation import said

NAME = "snips"
ABOUT = "Snips NLU intents and entities"


def recognises(record: dict[str, Any]) -> bool:
    lists = list(record.values())
    first = lists[0][0] if lists and isinstance(lists[0], list) and lists[0] else None
    return len(lists) == 1 and isinstance(first, dict) and isinstance(first.get("data"), list)


def companions(path: Path) -> dict[str, JsonObject]:
    """The demo's tools by the intent they stand for."""
    text = files("edgetool.data.demo").joinpath("tools.json").read_text(encoding="utf-8")
    return {entry["snips_intent"]: entry for entry in json.loads(text)}


def drafts(record: dict[str, Any], companions: dict[str, JsonObject]) -> Iterator[Draft]:
    [(intent, utterances)] = record.items()
    entry = companions.get(intent) or _own(intent, utterances)
    offered = [e["tool"] for e in companions.values()] if intent in companions else [entry["tool"]]
    for utterance in utterances:
        yield _draft(utterance["data"], entry, offered)


def _own(intent: str, utterances: list[Any]) -> JsonObject:
    """A tool for an intent that the demo does not know."""
    pieces = [piece for utterance in utterances for piece in utterance["data"]]
    names = list(dict.fromkeys(piece["entity"] for piece in pieces if "entity" in piece))
    properties = {name: {"type": "string"} for name in names}
    parameters = {"type": "object", "properties": properties}
    tool = {"name": intent, "description": "", "parameters": parameters}
    return {"tool": tool, "slots": {name: name for name in names}}


def _draft(pieces: list[JsonObject], entry: JsonObject, offered: list[JsonObject]) -> Draft:
    """What is wrong with an utterance stays in it, for the check to say: one bad utterance must
    not take the others of its file along."""
    text = " ".join("".join(piece["text"] for piece in pieces).split())
    arguments: JsonObject = {}
    for piece in pieces:
        name = entry["slots"].get(piece.get("entity"))
        if name is not None:
            # said twice, it is a list, which the tool's schema does not take
            value = " ".join(piece["text"].split())
            arguments[name] = [arguments[name], value] if name in arguments else value
    calls = [{"name": entry["tool"]["name"], "arguments": arguments}]
    return Draft([said("user", text)], offered, calls)
