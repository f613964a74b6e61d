"""Tools from Python: a function with its docstring.

Types come from the signature, words from the docstring (Google, NumPy or reST style, read by
docstring-parser). The function is only looked at, never called; a file of functions is run once, as
importing it would.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgetool.calls.tools.python_file import module_from_file
from edgetool.calls.tools.tools import ToolError, check_limits
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import UsageError

if typing.TYPE_CHECKING:
    from docstring_parser import Docstring

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def tool_from_function(function: Callable[..., Any]) -> Tool:
    """A tool that stands for `function`.

    A parameter without a default is required; *args and **kwargs, self and cls are left out.
    Raises ToolError for a type JSON has no schema for.
    """
    from docstring_parser import ParseError, parse

    name = function.__name__
    try:
        documented = parse(inspect.getdoc(function) or "")
    except ParseError as error:
        raise ToolError(f"{name}: its docstring cannot be read: {error}") from error
    schema = _signature_schema(function)
    _describe(schema, documented)
    words = [documented.short_description, documented.long_description]
    tool = Tool(name, "\n\n".join(word for word in words if word), schema)
    check_limits(name, schema)
    return tool


def functions_of_file(path: Path) -> dict[str, Callable[..., Any]]:
    """Runs a Python file; its functions by name: those in `__all__`, or all public ones it defines.

    Raises UsageError when there is no file or no function, and when running it fails.
    """
    if not path.is_file():
        raise UsageError(f"no Python file at {path}; give one with a function for each tool")
    try:
        module = module_from_file(path, "tools")
    except (Exception, SystemExit) as error:  # somebody else's code: it may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} cannot be imported: {reason}") from error
    functions: dict[str, Callable[..., Any]] = {
        name: one for name, one in _public(module).items() if inspect.isfunction(one)
    }
    if not functions:
        raise UsageError(f"{path}: no public function in it; define one for each tool")
    return functions


def _public(module: ModuleType) -> dict[str, Any]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return {name: getattr(module, name, None) for name in listed}
    return {
        name: one
        for name, one in vars(module).items()
        if not name.startswith("_") and getattr(one, "__module__", "") == module.__name__
    }


def _signature_schema(function: Callable[..., Any]) -> JsonObject:
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    name = function.__name__
    fields: dict[str, Any] = {}
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in _NAMED and parameter.name not in ("self", "cls"):
                fields[parameter.name] = _field(parameter, hints.get(parameter.name, Any))
        # Aliases let a parameter have a name Pydantic keeps for itself (`json`, `_x`).
        model = create_model(
            name,
            __config__=ConfigDict(arbitrary_types_allowed=False),
            **{f"p{i}": field for i, field in enumerate(fields.values())},
        )
        schema = _without_titles(model.model_json_schema())
    except (PydanticUserError, NameError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ToolError(f"{name}: its signature has no JSON Schema: {first}") from error
    return _renamed(schema, list(fields))


def _field(parameter: inspect.Parameter, hint: Any) -> tuple[Any, Any]:
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    return hint, default


def _renamed(schema: JsonObject, names: list[str]) -> JsonObject:
    """Fields p0, p1, ... under the parameters' own names."""
    own = {f"p{i}": name for i, name in enumerate(names)}
    properties = {own[key]: value for key, value in schema.get("properties", {}).items()}
    required = [own[key] for key in schema.get("required", ())]
    return {**schema, "properties": properties, "required": required}


def _describe(schema: JsonObject, documented: Docstring) -> None:
    for parameter in documented.params:
        if parameter.arg_name in schema["properties"] and parameter.description:
            schema["properties"][parameter.arg_name].setdefault(
                "description", parameter.description
            )


def _without_titles(schema: JsonObject) -> JsonObject:
    """Pydantic titles everything with the name it has already."""

    def without(value: Any, names: bool = False) -> Any:
        if isinstance(value, list):
            return [without(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            key: without(one, names=not names and key in ("properties", "$defs"))
            for key, one in value.items()
            if names or key != "title"
        }

    cleaned: JsonObject = without(schema)
    return cleaned
