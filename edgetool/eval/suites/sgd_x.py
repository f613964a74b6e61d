"""SGD-X (arXiv:2110.06800): the same dialogues with schemas in other people's words.

Schema-Guided Dialogue's test split, a row for each call of a service, and the five variants of its
schemas, v1 the nearest to the original and v5 the farthest. The folder is the published repository:
`test/` with the dialogues and their schema.json, `sgd_x/data/v1/test/schema.json` and so on. Rows
have the same ids in every category, so that what one right row becomes under other words is known.

A variant's services, slots and intents stand in the original's order; that is how the authors' own
script finds their new names, and how calls and earlier calls get them here. Beside the canonical
value of an argument its spellings in the dialogue are right ("March 8th" for 2019-03-08, whose year
nobody said), and an optional argument may be left out where its value is the schema's default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgetool.calls.types import JsonObject
from edgetool.data.draft import Draft
from edgetool.data.importers import sgd
from edgetool.errors import DataError
from edgetool.eval.suites.base import Loaded, Row, collect

NAME = "sgd-x"
FOLDERS = ("dstc8-schema-guided-dialogue", "sgd-x", "sgd")
ORIGINAL = "original"
_VARIANTS = ("v1", "v2", "v3", "v4", "v5")
_SPLIT = "test"


@dataclass(frozen=True)
class _Service:
    """A service in a variant's words. slots, intents: the variant's name by the original one."""

    schema: JsonObject
    slots: Mapping[str, str]
    intents: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.schema["service_name"])


def categories(folder: Path) -> tuple[str, ...]:
    if not any((folder / _SPLIT).glob("dialogues_*.json")):
        return ()
    return tuple(name for name in (ORIGINAL, *_VARIANTS) if _schema_file(folder, name).is_file())


def load(folder: Path, category: str) -> Loaded:
    services = _services(_schema_file(folder, ORIGINAL), _schema_file(folder, category))
    return collect(_rows(folder / _SPLIT), partial(_draft, services))


def _schema_file(folder: Path, category: str) -> Path:
    root = folder if category == ORIGINAL else folder / "sgd_x" / "data" / category
    return root / _SPLIT / "schema.json"


def _services(original: Path, variant: Path) -> dict[str, _Service]:
    """Services by their original name. Raises DataError unless one file follows the other."""
    try:
        pairs = list(zip(_read(original), _read(variant), strict=True))
        return {one["service_name"]: _service(one, other) for one, other in pairs}
    except (KeyError, TypeError, ValueError) as error:
        remedy = f"does not follow {original} entry by entry ({error!r}); copy it again"
        raise DataError([f"{variant}: {remedy}"]) from error


def _read(file: Path) -> list[JsonObject]:
    return list(json.loads(file.read_text(encoding="utf-8")))


def _service(one: JsonObject, other: JsonObject) -> _Service:
    def named(kind: str) -> dict[str, str]:
        pairs = zip(one[kind], other[kind], strict=True)
        return {old["name"]: new["name"] for old, new in pairs}

    return _Service(other, named("slots"), named("intents"))


def _rows(folder: Path) -> Iterator[tuple[str, Row]]:
    """Every turn that calls a service: its dialogue, and which turn."""
    for file in sorted(folder.glob("dialogues_*.json")):
        for dialogue in _read(file):
            for at, turn in enumerate(dialogue["turns"]):
                if _calling(turn):
                    yield f"{dialogue['dialogue_id']}/{at}", {"dialogue": dialogue, "at": at}


def _calling(turn: Row) -> list[JsonObject]:
    return [frame for frame in turn.get("frames", ()) if "service_call" in frame]


def _draft(services: Mapping[str, _Service], name: str, row: Row) -> Draft:
    dialogue, at = row["dialogue"], row["at"]
    turns = dialogue["turns"][: at + 1]
    renamed = {
        "dialogue_id": dialogue["dialogue_id"],
        "services": [services[service].name for service in dialogue["services"]],
        "turns": [_renamed(turn, services) for turn in turns],
    }
    # every earlier call gives a draft too; the last is the one of this turn
    *_, draft = sgd.drafts(renamed, {one.name: one.schema for one in services.values()})
    calls = [
        _accepting(call, frame, turns, services[frame["service"]])
        for call, frame in zip(draft.calls, _calling(turns[-1]), strict=True)
    ]
    return replace(draft, calls=calls)


def _renamed(turn: Row, services: Mapping[str, _Service]) -> JsonObject:
    """What the importer reads of a turn, in the variant's words."""
    frames = [_renamed_frame(frame, services[frame["service"]]) for frame in _calling(turn)]
    return {"speaker": turn["speaker"], "utterance": turn["utterance"], "frames": frames}


def _renamed_frame(frame: Row, service: _Service) -> JsonObject:
    call = frame["service_call"]
    return {
        "service": service.name,
        "service_call": {
            "method": service.intents[call["method"]],
            "parameters": _keys(call["parameters"], service.slots),
        },
        "service_results": [
            _keys(result, service.slots) for result in frame.get("service_results", ())
        ],
    }


def _keys(values: Row, names: Mapping[str, str]) -> JsonObject:
    return {names.get(key, key): value for key, value in values.items()}


def _accepting(call: JsonObject, frame: Row, turns: Sequence[Row], service: _Service) -> JsonObject:
    """The call with what else is right: an argument as it was said, or left to its default."""
    spellings = _keys(_spellings(turns, frame["service"]), service.slots)
    listed = {slot["name"] for slot in service.schema["slots"] if slot.get("is_categorical")}
    method = service.intents[frame["service_call"]["method"]]
    intent = next(one for one in service.schema["intents"] if one["name"] == method)
    arguments: Mapping[str, Any] = call["arguments"]
    others = {
        name: [text for text in spellings.get(name, ()) if text != value]
        for name, value in arguments.items()
        if name not in listed
    }
    defaults = intent["optional_slots"]
    return {
        **call,
        "alternatives": {name: texts for name, texts in others.items() if texts},
        "optional": [n for n, value in arguments.items() if defaults.get(n) == value],
    }


def _spellings(turns: Sequence[Row], service: str) -> Row:
    """The user's last state in a service: how each slot's value was spelled so far."""
    for turn in reversed(turns):
        for frame in turn.get("frames", ()):
            if frame["service"] == service and "state" in frame:
                return frame["state"]["slot_values"]
    return {}
