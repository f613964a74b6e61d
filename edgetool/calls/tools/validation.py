"""Calls against the tools on offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from edgetool.calls.json_text import INVALID, dumps, loads
from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.schema.tree import of_answer, of_tool, unknown_arguments
from edgetool.calls.tools.json_schema import validator
from edgetool.calls.types import JsonObject, Tool, ToolCall
from edgetool.errors import UsageError

# Rows offer the same tools again and again, and compiling a schema costs more than reading a row.
# Requests bring tools of strangers, so there are not too many.
_KEPT = 1024


@lru_cache(maxsize=_KEPT)
def validators(tool: Tool) -> tuple[Any, ...]:
    """What arguments have to fit: the tool's schema, and where it refers to a part of itself, its
    normal form too: a validator that comes back to where it began lets anything pass, and some
    spellings of a reference it does not know.

    Raises UsageError for a schema that no engine can check.
    """
    tree = of_tool(tool)
    return _with_normal_form(tool.parameters, tree.arguments, lambda: tree.broken)


def _with_normal_form(
    schema: JsonObject, form: Callable[[], JsonObject], broken: Callable[[], object] = tuple
) -> tuple[Any, ...]:
    if '"$ref"' not in (text := dumps(schema)) and 'Ref"' not in text:
        return (validator(schema),)
    found = validator(form())
    try:
        return validator(schema), found
    except UsageError:
        if broken():
            raise
        return (found,)


def misfit(arguments: JsonObject, tool: Tool) -> Any:
    """The first way in which the arguments do not fit the tool's schema, or None.

    Raises UsageError for a schema that no engine can check, ValueError for a value it cannot hold.
    """
    return _first_problem(arguments, validators(tool))


def call_fits(call: ToolCall, tools: Iterable[Tool]) -> bool:
    """Whether a call names one of the tools and its arguments fit that tool's schema.

    As in the grammars, an argument a schema does not name is refused unless it invites others. A
    schema that cannot be compiled holds nothing. A pattern that gives up counts as not fitting.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None or unknown_arguments(tool, call.arguments):
        return False
    try:
        return all(one.is_valid(call.arguments) for one in validators(tool))
    except UsageError:
        return True
    except ValueError:  # the engine cannot hold the value (a number beyond it)
        return False


def fault(call: ToolCall, tools: Sequence[Tool]) -> str | None:
    """Why a call does not fit: its tool is unknown, or its arguments are not as its schema says.

    Unlike in `call_fits`, what cannot be checked does not fit.
    """
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        known = ", ".join(tool.name for tool in tools) or "none"
        return f"there is no tool '{call.name}'; the tools are {known}"
    for name in unknown_arguments(tool, call.arguments):
        known = ", ".join(of_tool(tool).names) or "none"
        return f"{name}: is no parameter of {tool.name} ({known})"
    try:
        problem = misfit(call.arguments, tool)
    except (UsageError, ValueError) as error:
        return f"the arguments cannot be checked: {error}"
    return None if problem is None else _placed(problem)


def answer_fault(text: str, schema: JsonObject) -> str | None:
    """Why an answer is no JSON value of the schema it was asked for; None where it is one."""
    value = loads(text)
    if value is INVALID:
        return "it is no JSON value"
    try:
        checks = _with_normal_form(schema, lambda: of_answer(schema))
        problem = _first_problem(value, checks)
    except (UsageError, SchemaError, ValueError) as error:
        return f"it cannot be checked: {error}"
    return None if problem is None else _placed(problem)


def _first_problem(value: Any, checks: Iterable[Any]) -> Any:
    failed = (next(one.iter_errors(value)) for one in checks if not one.is_valid(value))
    return next(failed, None)


def _placed(problem: Any) -> str:
    where = ".".join(map(str, problem.instance_path))
    return f"{where}: {problem.message}" if where else str(problem.message)
