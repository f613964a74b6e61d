"""Keywords of one type that hold together, as one schema of that type.

Every function takes the schemas that hold and returns the keywords of their intersection, or None
where no value fits all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from edgetool.calls.schema.parts import KINDS
from edgetool.calls.types import JsonObject

# What the grammar engine knows; any other format is an annotation (JSON Schema 2020-12, 7.2.1).
FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uri uuid".split())

# Signs of a pattern that only a backtracking engine knows, or that look around them.
_HARD = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9bBZGcK]|\\k<")
# The plain letters a pattern begins with, as far as they are sure to be there.
_HEAD = re.compile(r"\^([A-Za-z0-9_-]*)(?![?*{+|A-Za-z0-9_-])(?!.*\|)")
_INNER_END = re.compile(r"\$(?!\)*$|\|)|[^(|:]\^|\([^()]*\$\|[^()]*\)(?!\)*$)")
_WIDEST = 2**63 - 1  # the engine's integers


def types_of(schemas: Sequence[JsonObject]) -> list[str]:
    """The types that all of the schemas allow, as JSON Schema names them."""
    allowed: list[str] = list(KINDS)
    declared = False
    for schema in schemas:
        kind = schema.get("type")
        if kind is None:
            continue
        declared = True
        listed = kind if isinstance(kind, list | tuple) else [kind]
        allowed = [one for own in listed for one in _common(own, allowed)]
    if not declared:
        allowed = _guessed(schemas)
    found = list(dict.fromkeys(allowed))
    return [one for one in found if not (one == "integer" and "number" in found)]


def _common(kind: str, allowed: Sequence[str]) -> list[str]:
    if kind in allowed:
        return [kind]
    if kind == "integer" and "number" in allowed:
        return ["integer"]
    return ["integer"] if kind == "number" and "integer" in allowed else []


def _guessed(schemas: Sequence[JsonObject]) -> list[str]:
    """The type that schemas without one have in mind."""
    keys = {key for schema in schemas for key in schema}
    if keys & {"properties", "required", "patternProperties"}:
        return ["object"]
    return ["array"] if keys & {"items", "prefixItems"} else list(KINDS)


def string(schemas: Sequence[JsonObject]) -> tuple[JsonObject, list[str]] | None:
    """The keywords, and those that no grammar can hold."""
    low, high = _range(schemas, "minLength", "maxLength")
    if high is not None and high < (low or 0):
        return None
    found: JsonObject = {}
    if low:
        found["minLength"] = low
    if high is not None:
        found["maxLength"] = high
    patterns = list(dict.fromkeys(s["pattern"] for s in schemas if "pattern" in s))
    simple = [one for one in patterns if not _is_hard(one)]
    if len(simple) == 1:
        found["pattern"] = simple[0]
    elif simple:
        found["allOf"] = [{"pattern": one} for one in simple]
    formats = [s["format"] for s in schemas if s.get("format") in FORMATS]
    if formats:
        found["format"] = formats[0]
    open_ = ["pattern"] if len(simple) < len(patterns) else []
    return found, open_ + (["format"] if len(set(formats)) > 1 else [])


def _is_hard(pattern: str) -> bool:
    """Whether it asks for what only a backtracking engine knows, or for an end inside of it."""
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "", re.sub(r"\\.", "", pattern))
    return bool(_HARD.search(pattern) or _INNER_END.search(plain))


def are_apart(patterns: Sequence[str]) -> bool:
    """Whether no text matches two of the patterns, and each can be held by a grammar."""
    if any(map(_is_hard, patterns)):
        return False
    heads = [_HEAD.match(one) for one in patterns]
    if len(patterns) < 2:
        return True
    starts = [head[1] for head in heads if head]
    one_starts_another = any(
        a.startswith(b) for i, a in enumerate(starts) for j, b in enumerate(starts) if i != j
    )
    return len(starts) == len(patterns) and all(starts) and not one_starts_another


def number(schemas: Sequence[JsonObject], kind: str) -> tuple[JsonObject, list[str]] | None:
    """The keywords, and those that no grammar can hold."""
    found: JsonObject = {}
    open_: list[str] = []
    bounds = [_strict(schema) for schema in schemas]
    for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        given = [one[key] for one in bounds if _is_number(one.get(key))]
        value = (max if "inimum" in key else min)(given, default=None)
        if value is not None and kind == "integer" and abs(value) >= _WIDEST:
            open_.append(key)
        elif value is not None:
            found[key] = value
    steps = list(dict.fromkeys(s["multipleOf"] for s in schemas if "multipleOf" in s))
    if len(steps) == 1:
        found["multipleOf"] = steps[0]
    elif steps:
        found["allOf"] = [{"multipleOf": one} for one in steps]
    return (found, open_) if _some_number(found, kind, steps) else None


def _strict(schema: JsonObject) -> JsonObject:
    """Bounds as they are spelled since draft 6: an exclusive one is a number."""
    found = dict(schema)
    for key, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if found.get(strict) is True and key in found:
            found[strict] = found.pop(key)
    return found


def _some_number(found: JsonObject, kind: str, steps: list[Any]) -> bool:
    """Whether a number lies within the bounds."""
    low = max(found.get("minimum", -math.inf), found.get("exclusiveMinimum", -math.inf))
    high = min(found.get("maximum", math.inf), found.get("exclusiveMaximum", math.inf))
    open_low = found.get("exclusiveMinimum", -math.inf) == low
    open_high = found.get("exclusiveMaximum", math.inf) == high
    if low > high or (low == high and (open_low or open_high)):
        return False
    step = steps[0] if steps else 1 if kind == "integer" else None
    if step is None or math.isinf(low) or math.isinf(high):
        return True
    first = math.floor(low / step) + 1 if open_low else math.ceil(low / step)
    last = math.ceil(high / step) - 1 if open_high else math.floor(high / step)
    return first <= last


def lengths(schemas: Sequence[JsonObject], low: str, high: str) -> JsonObject | None:
    """minItems and maxItems, or minProperties and maxProperties."""
    least, most = _range(schemas, low, high)
    if most is not None and most < (least or 0):
        return None
    found = {low: least} if least else {}
    return found if most is None else {**found, high: most}


def _range(schemas: Sequence[JsonObject], low: str, high: str) -> tuple[int | None, int | None]:
    lows = [int(s[low]) for s in schemas if _is_number(s.get(low))]
    highs = [int(s[high]) for s in schemas if _is_number(s.get(high))]
    return max(lows, default=None), min(highs, default=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
