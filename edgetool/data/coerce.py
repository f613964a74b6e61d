"""Argument values that are one reading away from their schema: "1" where an integer is wanted.

ToolRL, Seal-Tools and API-Bank write many values as text. A row is kept as it is, or is left out;
with `--coerce` such values are read the one way they can be.
"""

from __future__ import annotations

from edgetool.calls.tools.coerce import reading
from edgetool.calls.types import JsonObject, Tool


def coerced(arguments: JsonObject, tool: Tool) -> JsonObject:
    """The arguments, with values of the wrong JSON type read as the type their schema names."""
    properties = tool.parameters["properties"]
    return {name: reading(value, properties.get(name, {})) for name, value in arguments.items()}
