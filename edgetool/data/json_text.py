"""JSON as rows may hold it: no NaN, no infinity, no nesting that could exhaust the stack."""

from __future__ import annotations

import json
import math
from typing import Any

from edgetool.calls.formats.base import INVALID, MAX_DEPTH, loads


def decode(text: str) -> Any:
    """The value of JSON text. Raises ValueError when it is none that a row may hold."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return _DECODER.decode(text)
    # Enough brackets to be nested too deep: the careful reader looks how deep it is.
    value = loads(text)
    return _refuse("this") if value is INVALID else value


def _refuse(what: str) -> Any:
    raise ValueError(f"{what} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
