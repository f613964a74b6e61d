"""What an argument that names tools may be, for every command: a JSON file or a Python file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import INVALID, loads
from edgetool.calls.tools.python_tools import functions_of_file, tool_from_function
from edgetool.calls.tools.tool_lists import OPENAPI
from edgetool.calls.tools.tools import ToolError, tools_from_json
from edgetool.calls.types import Tool
from edgetool.data.lines import read_document
from edgetool.errors import DataError, UsageError

_EVENT = re.compile(r"^data:(.*)$", re.MULTILINE)
_OPENAPI_YAML = re.compile(r"^['\"]?(openapi|swagger)['\"]?\s*:", re.MULTILINE)


def load_tools(path: Path) -> tuple[Tool, ...]:
    """The tools of a file: JSON in any dialect `calls.tools` knows, one tool a line, or Python.

    A Python file is run, and each of its functions is a tool.
    Raises UsageError for a file that is not there or a tool that cannot be offered, DataError for
    one that is no JSON.
    """
    if path.suffix == ".py":
        return tuple(tool_from_function(one) for one in functions_of_file(path).values())
    if not path.is_file():
        remedy = "give a JSON file with a list of tools, or a Python file with a function for each"
        raise UsageError(f"no tools at {path}; {remedy}")
    tools = tools_from_json(_value(path, read_document(path)), str(path))
    if not tools:
        raise UsageError(f"{path}: holds no tool; give a list of at least one")
    return tools


def _value(path: Path, text: str) -> Any:
    if not text.strip():
        raise DataError([f"{path}: is empty; give a list of tools"])
    value = loads(text)
    if value is not INVALID:
        return value
    lines = [loads(line) for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(isinstance(line, dict) for line in lines):
        return lines
    for event in _EVENT.findall(text):  # a server's answer as it came over HTTP
        if (value := loads(event)) is not INVALID:
            return value
    if _OPENAPI_YAML.search(text):
        raise ToolError(f"{path}: {OPENAPI}")
    raise DataError([f"{path}: not JSON{_where(text)}; give a list of tools"])


def _where(text: str) -> str:
    """' (Expecting value: line 1 column 1)', as far as Python's reader can say."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f" ({error.msg}: line {error.lineno} column {error.colno})"
    except (ValueError, RecursionError):
        pass
    return ""
