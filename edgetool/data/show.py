"""A row as lines for people to read."""

from __future__ import annotations

from collections.abc import Iterator

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example, JsonObject, Tool, ToolCall
from edgetool.terminal import clipped, printable

_WIDEST = 400  # of a message or a description; the rest is cut


def lines_of(row: Example) -> Iterator[str]:
    """The id, what was said, the tools as signatures and the calls wanted."""
    where = "".join(f"  {key}={value}" for key, value in row.metadata.items() if key != "services")
    yield f"# {_plain(row.id)}{_plain(where)}"
    for message in row.messages:
        text = _plain(str(message.get("content") or ""))
        called = [call.get("function", call) for call in message.get("tool_calls") or []]
        written = "; ".join(
            f"{call.get('name')}({dumps(call.get('arguments'))})" for call in called
        )
        yield f"{message['role'] + ':':11}{_cut(' '.join(filter(None, [text, written])))}"
    for tool in row.tools:
        yield f"  tool     {signature(tool)}  {_cut(_plain(tool.description))}".rstrip()
    for call in row.calls:
        yield f"  => {call_text(call)}"
    if not row.calls:
        yield f"  => no call{': ' + _cut(_plain(row.completion)) if row.completion else ''}"


def signature(tool: Tool) -> str:
    """'get_weather(city: string, days?: integer)'."""
    properties = tool.parameters.get("properties") or {}
    parameters = [
        f"{name}{'' if name in tool.required else '?'}: {_type(schema)}"
        for name, schema in properties.items()
    ]
    return _plain(f"{tool.name}({', '.join(parameters)})")


def call_text(call: ToolCall) -> str:
    """'get_weather(city="Oslo")'."""
    arguments = ", ".join(f"{name}={dumps(value)}" for name, value in call.arguments.items())
    return _plain(f"{call.name}({arguments})")


def _plain(text: str) -> str:
    """On one line, and without control characters, which could speak to the terminal."""
    return printable(text, keep="", instead=" ")


def _type(schema: JsonObject) -> str:
    if schema.get("enum"):
        return "|".join(map(str, schema["enum"][:6])) + ("|…" if len(schema["enum"]) > 6 else "")
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_type(schema.get('items') or {})}]"
    return "|".join(kind) if isinstance(kind, list) else str(kind)


def _cut(text: str) -> str:
    return clipped(text, _WIDEST)
