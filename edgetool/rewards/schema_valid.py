"""Calls that their tool would accept, whether they are the right ones or not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs

from edgetool.calls.formats.base import Parsed, dumps
from edgetool.calls.types import Example, ToolCall
from edgetool.rewards.registry import reward


@reward("schema_valid")
def schema_valid(parsed: Parsed, example: Example) -> float:
    """Share of the calls made that name a tool on offer and fit its JSON Schema.

    0 for a completion that is not clean. Without a call: 1 where none is expected, else 0.
    """
    if parsed.problem is not None:
        return 0.0
    if not parsed.calls:
        return float(not example.calls)
    return sum(_fits(call, example) for call in parsed.calls) / len(parsed.calls)


def _fits(call: ToolCall, example: Example) -> bool:
    for tool in example.tools:
        if tool.name == call.name:
            # As in the grammar: arguments a tool does not name are refused unless it invites them.
            schema = {"additionalProperties": False, **tool.parameters}
            return bool(_validator(dumps(schema)).is_valid(call.arguments))
    return False


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(schema)
