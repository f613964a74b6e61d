"""API-Bank (arXiv:2304.08244), levels 1 and 2, in the form ToolRL prepared them.

There the tools stand in the system prompt and the dialogue in one user message, with tags; both are
taken apart again, so that a model sees them through its own chat template.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from edgetool.calls.types import Example, Message, Tool
from edgetool.eval.suites.base import Loaded, Row, Unscorable, collect, expected, typed_tool

NAME = "api-bank"
FOLDERS = ("toolrl", "api-bank", "apibank")
_FILE = "apibank_{}-api_processed.json"
_CATEGORIES = ("level-1", "level-2", "level-3")

_TOOL = re.compile(r"^\d+\. Name: (.*)\nDescription: (.*)\nParameters: (.*)$", re.MULTILINE)
_TURN = re.compile(r"<(user|response|tool_call|obs)>(.*?)</\1>", re.DOTALL)
# What ToolRL appended to every dialogue; it asks for what the tools and the template ask already.
_REQUEST = "Based on our conversation above, please only make one tool call to solve my need."


def categories(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in _CATEGORIES if (folder / _FILE.format(name)).is_file())


def load(folder: Path, category: str) -> Loaded:
    rows = json.loads((folder / _FILE.format(category)).read_text(encoding="utf-8"))
    named = [(f"{category}-{number}", row) for number, row in enumerate(rows)]
    return collect(named, _example)


def _example(name: str, row: Row) -> Example:
    tools = tuple(_tool(found) for found in _TOOL.finditer(row["system"]))
    if not tools:
        raise Unscorable("no tools on offer")
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    if not answers:
        raise Unscorable("no right answer")
    calls = tuple(expected(tools, answer["name"], answer["parameters"]) for answer in answers)
    return Example(name, tuple(_messages(row["user"])), tools, calls)


def _tool(found: re.Match[str]) -> Tool:
    parameters = ast.literal_eval(found[3])  # Python's spelling of a dict, of literals only
    return typed_tool(found[1], found[2], parameters, parameters)


def _messages(dialogue: str) -> list[Message]:
    """The turns; calls and their results become what chat templates know."""
    messages: list[Message] = []
    for kind, text in _TURN.findall(dialogue):
        said = text.strip()
        if kind == "user" and said != _REQUEST:
            messages.append({"role": "user", "content": said})
        elif kind == "response":
            messages.append({"role": "assistant", "content": said})
        elif kind == "tool_call":
            messages.append({"role": "assistant", "content": "", "tool_calls": _calls(said)})
        elif kind == "obs":
            messages.append({"role": "tool", "content": said})
    if not any(message["role"] == "user" for message in messages):
        raise Unscorable("no user's turn in the dialogue")
    return messages


def _calls(text: str) -> list[dict[str, Any]]:
    calls = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [
        {"type": "function", "function": {"name": c["name"], "arguments": c["parameters"]}}
        for c in calls
    ]
