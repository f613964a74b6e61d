"""Arguments against a tool's schema, in time that grows with their length whatever the pattern.

jsonschema-rs matches patterns with Rust's regex, which never goes back. The few patterns only a
backtracking engine knows (look-around, back-references) get one with a limit; where it is reached
the value counts as not fitting.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from edgetool.calls.formats.base import dumps
from edgetool.calls.types import JsonObject, Tool, ToolCall
from edgetool.errors import UsageError

BACKTRACKS = 1_000


def validator(schema: JsonObject) -> Any:
    """A jsonschema_rs validator for a schema. Raises UsageError for one that is no JSON Schema."""
    return _validator(dumps(schema))


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    import jsonschema_rs

    linear = jsonschema_rs.RegexOptions(size_limit=2**20, dfa_size_limit=2**20)
    limited = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS, size_limit=2**20)
    problem: Exception | None = None
    for options in (linear, limited):
        try:
            return jsonschema_rs.validator_for(schema, pattern_options=options)
        except (ValueError, jsonschema_rs.ValidationError) as error:
            problem = error
    raise UsageError(f"a schema cannot be used to check values: {problem}")


def fits(schema: JsonObject, value: Any) -> bool:
    """Whether a value fits. A pattern that gives up counts as not fitting."""
    try:
        return bool(validator(schema).is_valid(value))
    except ValueError:  # the engine cannot hold the value (a number beyond it)
        return False


def call_fits(call: ToolCall, tools: Iterable[Tool]) -> bool:
    """Whether a call names one of the tools and its arguments fit that tool's schema.

    As in the grammars, an argument a schema does not name is refused unless it invites others. A
    schema that cannot be compiled holds nothing.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return False
    try:
        return fits({"additionalProperties": False, **tool.parameters}, call.arguments)
    except UsageError:
        return True
