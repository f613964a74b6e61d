"""What a suite gives, and what the suites' dialects have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgetool.calls.types import Example, ExpectedCall, Tool

Row = Mapping[str, Any]

# Python's names of types, as suites write them in schemas.
TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


@dataclass(frozen=True)
class Loaded:
    """The rows of one category.

    skipped   "id: reason" for every row that cannot be scored
    """

    examples: tuple[Example, ...]
    skipped: tuple[str, ...] = ()


class Unscorable(Exception):
    """A row without tools, without a right answer, or with one that its tools cannot give."""


def collect(rows: Iterable[tuple[str, Row]], convert: Callable[[str, Row], Example]) -> Loaded:
    """Convert rows by id; one that is unscorable or broken is skipped and named."""
    examples, skipped = [], []
    for name, row in rows:
        try:
            examples.append(convert(name, row))
        except Unscorable as reason:
            skipped.append(f"{name}: {reason}")
        except (KeyError, TypeError, AttributeError, ValueError, SyntaxError) as error:
            skipped.append(f"{name}: cannot be read ({error!r})")
    return Loaded(tuple(examples), tuple(skipped))


def typed_tool(name: str, description: str, parameters: Row, required: Iterable[str]) -> Tool:
    """A tool whose parameters are {name: {"type": Python's name, "description": ...}}."""
    properties = {key: typed(value) for key, value in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Tool(name, description, schema)


def typed(parameter: Row) -> dict[str, Any]:
    """A parameter's schema; "list(str)" is an array of strings."""
    kind, _, inner = str(parameter.get("type", "str")).partition("(")
    schema: dict[str, Any] = {"type": TYPES.get(kind, "string")}
    if inner:
        schema["items"] = {"type": TYPES.get(inner.rstrip(")"), "string")}
    if parameter.get("description"):
        schema["description"] = str(parameter["description"])
    return schema


def expected(tools: Iterable[Tool], name: str, arguments: Row) -> ExpectedCall:
    """The call a row asks for, values spelled as text turned into what the schema declares.

    Raises Unscorable when no tool on offer can be called so.
    """
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        raise Unscorable(f"the right answer calls {name}, which is not on offer")
    properties = tool.parameters["properties"]
    odd = [key for key in arguments if key not in properties]
    if odd:
        raise Unscorable(f"the right answer gives {name} an argument it does not have: {odd[0]}")
    return ExpectedCall(name, {k: _cast(v, properties[k]) for k, v in arguments.items()})


def _cast(value: Any, schema: Row) -> Any:
    """Text where a number or a truth value is declared -> that; anything else as it is."""
    kind = schema.get("type")
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return value
    if kind == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        if kind == "integer":
            return int(value)
        return float(value) if kind == "number" else value
    except ValueError:
        raise Unscorable(f"the right answer has {value!r} where a {kind} is declared") from None
