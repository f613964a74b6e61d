"""A value that is one reading away from its schema: "1" where an integer is wanted."""

from __future__ import annotations

import re
from typing import Any

from edgetool.calls.json_text import INVALID, dumps, loads

_WHOLE = re.compile(r"-?\d{1,15}(\.0+)?")
_DECIMAL = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_BOOLEANS = {"true": True, "false": False}


def reading(value: Any, schema: Any) -> Any:
    """The value read as the schema's type when there is exactly one way to; else the value."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return dumps(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(float(text))
    if kind == "number" and _DECIMAL.fullmatch(text):
        return float(text) if "." in text else int(text)
    if kind == "boolean":
        return _BOOLEANS.get(text.lower(), value)
    if kind in ("array", "object"):
        read = loads(text)
        fits = isinstance(read, list if kind == "array" else dict) and read is not INVALID
        return read if fits else value
    return value
