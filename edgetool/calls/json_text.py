"""JSON as text: one spelling to write it, and a reading that nothing a model writes can break."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

INVALID = object()
_SPACE = re.compile(r"\s*")
MAX_DEPTH = 64  # deeper nesting is nobody's call, and walking it could exhaust the stack


def loads(text: str) -> Any:
    """JSON text -> value, or INVALID. Model output may be nested absurdly deep or hold NaN."""
    value, end = loads_at(text, 0)
    return value if not text[end:].strip() else INVALID


def loads_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start` (white space skipped), and where it ends.

    (INVALID, start) when there is none.
    """
    begin = _SPACE.match(text, start).end()  # type: ignore[union-attr]  # matches nothing, too
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=finite)
    try:
        value, end = decoder.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return INVALID, start
    return (INVALID, start) if _deeper_than(value, MAX_DEPTH) else (value, end)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def finite(text: str) -> float:
    value = float(text)
    # 1e999 is JSON, and a grammar lets it through, but infinity could not be written back.
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def dumps(value: Any) -> str:
    """One spelling of JSON everywhere: the one chat templates' `tojson` writes."""
    return _ENCODER.encode(value)


# json.dumps would make one for every call
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def json_type(value: Any) -> str:
    """The JSON type of a value: null, boolean, number, string, array or object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"
