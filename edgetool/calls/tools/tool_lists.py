"""Lists of tools as SDKs, servers and files wrap them -> the tools alone.

    [...]  {"tools": [...]}  {"functions": [...]}      OpenAI, LangChain, Anthropic
    {"functionDeclarations": [...]}                    Gemini, alone or in a list
    {"jsonrpc": "2.0", "result": {"tools": [...]}}     a server's answer to tools/list (MCP)
    {"toolConfig": {"tools": [{"toolSpec": ...}]}}     Bedrock
    {"tools": {"f": {"parameters": ...}}}              by name, as the AI SDK keeps them

What is no list of tools, though it looks like one, is told as what it is.
"""

from __future__ import annotations

from typing import Any

from edgetool.calls.tools.dialects import PARAMETERS, WRAPPERS
from edgetool.calls.types import JsonObject

_LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
_WRAPPERS = ("result", "toolConfig", "tool_config", "params")
_DECLARATIONS = ("functionDeclarations", "function_declarations")
# Gemini's own tools have no name; the key says which one it is.
_GEMINI_HOSTED = (
    "googleSearch",
    "googleSearchRetrieval",
    "codeExecution",
    "urlContext",
    "googleMaps",
    "enterpriseWebSearch",
    "fileSearch",
    "computerUse",
)
# Types of an entry that has parameters of its own: a tool for whoever asks.
_OWN_TYPES = ("function", "custom", "object", "tool")
_CACHE_POINTS = frozenset(("cachePoint", "cache_point"))
# How fields begin that describe what a tool gives back, or something beside it.
_RESULTS = ("output", "return", "response", "result", "annotations", "_meta", "metadata")


def entries_of(value: Any) -> Any:
    """The list of tools in a value as files hold it; what is none is given back as it came."""
    for _ in range(4):  # as deep as any wraps its list
        inner = _unwrapped(value)
        if inner is None:
            break
        value = inner
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return value
    return [entry for one in value for entry in _declared(one)]


def _unwrapped(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    for key in _LISTS:
        if isinstance(value.get(key), list):
            return value[key]
        if by_name := _by_name(value.get(key)):
            return by_name
    if by_name := _by_name(value):
        return by_name
    if isinstance(value.get("name"), str):
        return None  # a tool may have a field of one of these names
    return next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), None)


def _by_name(value: Any) -> list[JsonObject] | None:
    """{"f": {"description": ..., "parameters": {...}}} -> a list; None for anything else."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(one, dict) and _describes(one) for one in value.values()):
        return None
    return [{"name": name, **one} for name, one in value.items()]


def _describes(entry: JsonObject) -> bool:
    return any(isinstance(entry.get(key), dict) for key in PARAMETERS)


def _declared(entry: Any) -> list[Any]:
    """Gemini lists its declarations inside each entry, perhaps beside a tool of its own."""
    if not isinstance(entry, dict):
        return [entry]
    lists = [entry[key] for key in _DECLARATIONS if isinstance(entry.get(key), list)]
    if not lists:
        return [entry]
    rest = {key: one for key, one in entry.items() if key not in _DECLARATIONS}
    return [*lists[0], *([rest] if rest else [])]


def no_tool(entry: JsonObject) -> str | None:
    """What an entry is that looks like a tool and is none, and what to do; None for a tool."""
    kind = entry.get("type")
    if isinstance(kind, str) and kind not in _OWN_TYPES and not _has_parameters(entry):
        return _hosted(kind)
    if isinstance(entry.get("custom"), dict) or (kind == "custom" and not _has_parameters(entry)):
        return "is a custom tool of OpenAI, which takes plain text; write it as a function"
    if entry.keys() & _CACHE_POINTS:
        return "is a cache point, not a tool; leave it out"
    if key := _schema_elsewhere(entry):
        return f"has its schema as '{key}', which is not known; name it 'parameters'"
    for key in _GEMINI_HOSTED:
        snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in key)
        if key in entry or snake in entry:
            return _hosted(key)
    return None


def _schema_elsewhere(entry: JsonObject) -> str | None:
    """The field of a tool without parameters that holds what looks like their schema."""
    entry = next((entry[key] for key in WRAPPERS if isinstance(entry.get(key), dict)), entry)
    if any(key in entry for key in PARAMETERS):
        return None
    holds = (key for key, one in entry.items() if isinstance(one, dict) and "properties" in one)
    return next((key for key in holds if not key.lower().startswith(_RESULTS)), None)


def _hosted(name: str) -> str:
    return (
        f"is '{name}', a tool built into its provider's API, which no model here can call; leave "
        "it out, or write a function that does the same"
    )


def _has_parameters(entry: JsonObject) -> bool:
    wrapped = any(isinstance(entry.get(key), dict) for key in WRAPPERS)
    return wrapped or any(key in entry for key in PARAMETERS)


def no_list(value: Any) -> str | None:
    """What a document is that looks like a list of tools and is none, and what to do."""
    if not isinstance(value, dict):
        return None
    if "openapi" in value or "swagger" in value:
        return OPENAPI
    if isinstance(value.get("mcpServers"), dict):
        return (
            "is a list of MCP servers, not of tools; save a server's answer to tools/list and give "
            "that file"
        )
    if isinstance(value.get("error"), dict) and "jsonrpc" in value:
        return f"is an error of a server, not a list of tools: {value['error'].get('message')}"
    return None


OPENAPI = (
    "is an OpenAPI description, which is not read yet; write a tool for each operation that is to "
    'be called: [{"name": ..., "description": ..., "parameters": {...}}]'
)
