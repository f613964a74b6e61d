"""Words for a call: what somebody would say who wants exactly it. No model, so no surprises."""

from __future__ import annotations

import random
import re
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import JsonObject, Tool
from edgetool.data.words import WORD

_OPENINGS = (
    "{}",
    "{}",
    "please {}",
    "can you {}?",
    "I want to {}",
    "{} please",
    "hey, {}",
    "I need to {}",
)
_PIECES = ("with {label} {value}", "{label}: {value}", "{label} {value}", "use {value} as {label}")
_PREPOSITIONS = {
    ("city", "town", "location", "place", "country", "room"): ("in {value}",),
    ("destination",): ("to {value}",),
    ("origin", "start"): ("from {value}",),
    ("date", "day"): ("on {value}", "for {value}"),
    ("artist", "author"): ("by {value}",),
    ("recipient", "contact"): ("to {value}",),
    ("topic", "subject"): ("about {value}",),
}
# Third person at the start of a description: "Gets the weather" is asked for as "get the weather".
_THIRD_PERSON = re.compile(r"^([a-z]{2,}[^su\W])s\b")


def utterance(tool: Tool, arguments: JsonObject, rng: random.Random) -> str:
    """A request that says every argument of the call, values as they are in it."""
    pieces = [piece for name, value in arguments.items() for piece in _said(name, value, rng)]
    rng.shuffle(pieces)
    opening = rng.choice(_OPENINGS)
    text = opening.format(_joined(_request(tool, rng), pieces))
    return text[:1].upper() + text[1:] if rng.random() < 0.5 else text


def _joined(request: str, pieces: list[str]) -> str:
    for piece in pieces:
        aside = ": " in piece or piece.startswith("use ")
        request += f", {piece}" if aside else f" {piece}"
    return request


def _request(tool: Tool, rng: random.Random) -> str:
    """The tool's first sentence, or its name in words."""
    sentence = re.split(r"[.;\n]", tool.description.strip())[0].strip()
    if not sentence or len(sentence) > 90 or rng.random() < 0.2:
        return label(tool.name.rpartition(".")[2])
    return _THIRD_PERSON.sub(r"\1", sentence[:1].lower() + sentence[1:])


def _said(name: str, value: Any, rng: random.Random) -> list[str]:
    """The words for one argument; none for nothing."""
    words = label(name)
    if value is None:
        return [f"no {words}"]
    if isinstance(value, bool):
        return [f"with {words}" if value else f"without {words}"]
    if isinstance(value, dict):
        return [f"{words}: {_spoken(value)}"]
    last = words.split()[-1] if words.split() else ""
    if isinstance(value, int) and last.endswith("s") and rng.random() < 0.7:
        return [f"for {value} {words}"]
    for names, forms in _PREPOSITIONS.items():
        if last in names and rng.random() < 0.7:
            return [rng.choice(forms).format(value=_spoken(value))]
    return [rng.choice(_PIECES).format(label=words, value=_spoken(value))]


def _spoken(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        said = [_spoken(inner) for inner in value]
        return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)
    if isinstance(value, dict):
        return ", ".join(f"{label(key)} {_spoken(inner)}" for key, inner in value.items())
    return dumps(value)


def label(name: str) -> str:
    """'maxResults' and 'max_results' -> 'max results'."""
    return " ".join(word.lower() for word in WORD.findall(name)) or name
