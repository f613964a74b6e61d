"""A value for a JSON Schema, such as a person might say: from its examples, enum, format or type.

Schemas that a few tries cannot fill (a pattern without an example) are refused by name rather than
filled with what the schema would not take.
"""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from edgetool.calls.schema.parts import SchemaError, resolve
from edgetool.calls.schema.tree import arguments_of, is_composed
from edgetool.calls.tools.validation import misfit
from edgetool.calls.types import JsonObject, Tool
from edgetool.data.words import pseudo_word

_DEEPEST = 6
_TRIES = 20
_MOST_ITEMS = 3
# What a parameter is called tells what people would put there. The first word that fits counts.
_HINTS = {
    ("city", "town", "location", "place", "destination", "origin"): (
        "Oslo|Lagos|Kyoto|Porto|Quito|Leeds|Pune|Malmö|Austin|Perth|Cairo|New York|São Paulo"
    ),
    ("country", "nation"): "Norway|Japan|Peru|Kenya|Portugal|Canada|India|Vietnam|New Zealand",
    ("language", "lang"): "English|Spanish|Japanese|Hindi|Norwegian|Portuguese|Swahili",
    ("currency",): "USD|EUR|JPY|NOK|GBP|INR|BRL",
    ("color", "colour"): "red|dark green|blue|orange|black|light grey|purple",
    ("artist", "author", "person", "recipient", "contact", "user", "name"): (
        "Ada Moreau|Tom Berg|Li Na|Omar Haddad|Nina Sol|Ravi Iyer|Zoe Clark|Ken Ito|Eva Novak"
    ),
    ("email", "mail"): "ada@example.org|tom.berg@example.com|li.na@example.net",
    ("date", "day", "when"): "2026-03-14|2027-01-02|tomorrow|next Friday|the 3rd of May",
    ("time", "hour"): "7 am|18:30|noon|a quarter past nine|in two hours",
    ("cuisine", "food", "dish", "meal"): "ramen|tacos|mushroom risotto|lentil soup|sushi",
    ("genre", "style"): "jazz|ambient|folk rock|techno|classical",
    ("song", "track", "album", "title", "book", "movie", "film"): (
        "Paper Boats|The Long Winter|Glass Harbour|Second Sun|A Map of Rain"
    ),
    ("message", "text", "note", "body", "content", "description"): (
        "I am running late|call me when you are home|the meeting moved to room 4|buy oat milk"
    ),
    ("url", "link", "website"): "https://example.org/a|https://example.com/news",
    ("query", "search", "keyword", "topic", "subject", "question"): (
        "tide tables|cheap flights|solar panels|sourdough starter|the 1906 expedition"
    ),
    ("id", "code", "number", "key"): "A-1047|ZX81|7Q2-55|REF3309",
    ("phone",): "+47 22 01 55 10|555-0142|+81 3 5550 0199",
    ("unit",): "metric|imperial",
}


class Unfillable(Exception):
    """A schema for which no value was found; the message names the property."""


def draw_arguments(tool: Tool, rng: random.Random, optional: float = 0.5) -> JsonObject:
    """Arguments for one call: every required one, others with probability `optional`.

    Raises Unfillable naming the property whose schema no value fits.
    """
    if is_composed(tool.parameters):
        return _draw_composed(tool, rng, optional)
    drawn: JsonObject = {}
    for name, schema in tool.parameters["properties"].items():
        needed = name in tool.required
        if not needed and rng.random() >= optional:
            continue
        value = _fitting(name, schema, tool, rng)
        if value is not _NOTHING:
            drawn[name] = value
        elif needed:
            raise Unfillable(f"{tool.name}: no value was found for '{name}'; give it examples")
    if misfit(drawn, tool) is not None:
        raise Unfillable(f"{tool.name}: {misfit(drawn, tool).message}; no arguments were found")
    return drawn


def _draw_composed(tool: Tool, rng: random.Random, optional: float) -> JsonObject:
    """Arguments where $ref, anyOf and the like say which there are: of one of their shapes."""
    try:
        tree, shapes = arguments_of(tool)
    except SchemaError as error:
        raise Unfillable(str(error)) from None
    shape = rng.choice(shapes).as_schema()
    kept: JsonObject = {
        key: shape[key] for key in ("type", "properties", "required") if key in shape
    }
    plain = Tool(tool.name, "", {**kept, "$defs": tree.definitions})
    drawn = draw_arguments(plain, rng, optional)
    problem = misfit(drawn, tool)
    if problem is not None:
        raise Unfillable(f"{tool.name}: {problem.message}; no arguments were found")
    return drawn


_NOTHING = object()


def _fitting(name: str, schema: Any, tool: Tool, rng: random.Random) -> Any:
    """A value that the property's schema takes, or _NOTHING after some tries."""
    parameters = {**tool.parameters, "properties": {name: schema}, "required": [name]}
    alone = Tool(tool.name, "", parameters)
    for _ in range(_TRIES):
        value = draw(schema, rng, name, tool.parameters)
        if misfit({name: value}, alone) is None:
            return value
    return _NOTHING


def draw(
    schema: Any, rng: random.Random, name: str = "", root: JsonObject | None = None, depth: int = 0
) -> Any:
    """A value for the schema; mostly valid, for the caller to check."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    given = _given(schema)
    if given:
        return rng.choice(given)
    if isinstance(schema.get("$ref"), str):
        return draw(resolve(root or {}, schema["$ref"]), rng, name, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return draw(rng.choice(schema[key]), rng, name, root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "array":
        return _items(schema, rng, name, root, depth)
    if kind == "object":
        return _object(schema, rng, root, depth)
    return _SIMPLE.get(kind, lambda *_: None)(schema, rng, name)


def _given(schema: JsonObject) -> list[Any]:
    """Values the schema itself names."""
    if "const" in schema:
        return [schema["const"]]
    if schema.get("enum"):
        return list(schema["enum"])
    examples = schema.get("examples")
    given = list(examples) if isinstance(examples, list) else []
    if "example" in schema:
        given.append(schema["example"])
    if given and schema.get("default") not in (None, ""):
        given.append(schema["default"])
    return given


def _items(
    schema: JsonObject, rng: random.Random, name: str, root: JsonObject | None, depth: int
) -> list[Any]:
    fewest = max(1, int(schema.get("minItems", 1)))
    most = max(fewest, min(int(schema.get("maxItems", _MOST_ITEMS)), fewest + _MOST_ITEMS - 1))
    singular = name.removesuffix("s")
    items = schema.get("items", {"type": "string"})
    drawn: list[Any] = []
    for _ in range(rng.randint(fewest, most)):
        value = draw(items, rng, singular, root, depth + 1)
        if value not in drawn or (len(drawn) < fewest and not schema.get("uniqueItems")):
            drawn.append(value)
    return drawn


def _object(
    schema: JsonObject, rng: random.Random, root: JsonObject | None, depth: int
) -> JsonObject:
    required = schema.get("required") or []
    properties = schema.get("properties") or {}
    chosen = [key for key in properties if key in required or rng.random() < 0.5]
    return {key: draw(properties[key], rng, key, root, depth + 1) for key in chosen}


def _integer(schema: JsonObject, rng: random.Random, name: str) -> int:
    low, high = _bounds(schema, 1, 20)
    step = schema.get("multipleOf") or 1
    first, last = -(-low // step), high // step
    return int(rng.randint(int(first), max(int(first), int(last))) * step)


def _number(schema: JsonObject, rng: random.Random, name: str) -> float:
    low, high = _bounds(schema, 0, 100)
    if schema.get("multipleOf"):
        return _integer(schema, rng, name)
    value = round(rng.uniform(low, high), rng.choice((0, 1, 2)))
    return int(value) if value.is_integer() else value


def _bounds(schema: JsonObject, low: float, high: float) -> tuple[float, float]:
    """Least and greatest; what the schema leaves open lies near what it gives."""
    width = high - low
    whole = schema.get("type") == "integer"
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is not None:
        low = least + (whole and "minimum" not in schema)
        high = low + width
    if most is not None:
        high = most - (whole and "maximum" not in schema)
        low = low if least is not None else min(low, high)
    return low, max(low, min(high, low + 10 * width))


def _text(schema: JsonObject, rng: random.Random, name: str) -> str:
    formatted = _FORMATS.get(schema.get("format", ""))
    value = formatted(rng) if formatted else _hinted(name, schema, rng)
    fewest, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    while len(value) < fewest:
        value += " " + pseudo_word(rng)
    return value[:most].strip() if most is not None else value


def _hinted(name: str, schema: JsonObject, rng: random.Random) -> str:
    named = re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", name).lower())
    described = re.findall(r"[a-z]+", str(schema.get("description", "")).lower())
    for words in (named[::-1], described):
        for word in words:
            for hints, values in _HINTS.items():
                if word in hints:
                    return rng.choice(values.split("|"))
    return " ".join(pseudo_word(rng) for _ in range(rng.choice((1, 1, 2))))


def _day(rng: random.Random) -> date:
    return date(2026, 1, 1) + timedelta(days=rng.randrange(730))


def _moment(rng: random.Random) -> datetime:
    midnight = datetime.combine(_day(rng), datetime.min.time())
    return midnight + timedelta(minutes=15 * rng.randrange(96))


def _host(rng: random.Random) -> str:
    return f"{pseudo_word(rng)}.example"


_FORMATS: dict[str, Callable[[random.Random], str]] = {
    "date": lambda rng: _day(rng).isoformat(),
    "date-time": lambda rng: f"{_moment(rng).isoformat()}Z",
    "time": lambda rng: f"{_moment(rng).time().isoformat()}Z",
    "duration": lambda rng: f"PT{rng.randint(1, 90)}M",
    "email": lambda rng: f"{pseudo_word(rng)}@{_host(rng)}",
    "hostname": _host,
    "uri": lambda rng: f"https://{_host(rng)}/{pseudo_word(rng)}",
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "ipv4": lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
    "ipv6": lambda rng: ":".join(
        "".join(rng.choices(string.hexdigits[:16], k=4)) for _ in "12345678"
    ),
}
_SIMPLE: dict[str, Callable[[JsonObject, random.Random, str], Any]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema, rng, name: rng.random() < 0.5,
}
