"""API-Bank (arXiv:2304.08244) as published for training: `instruction`, `input`, and the request.

The instruction describes the APIs as one JSON object a line; `input` is the dialogue; the answer is
written API-Request: [Name(key='value')]. ToolRL's processed form is read by `toolrl`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgetool.calls.types import Message
from edgetool.data.check import Problem, require_text
from edgetool.data.draft import Draft, json_value
from edgetool.data.importers import python_calls
from edgetool.data.importers.conversation import calling, said

NAME = "api-bank"
ABOUT = "API-Bank: instruction, input, and API-Request: [Name(key='value')]"
_REQUEST = "API-Request:"
_SPEAKERS = "User|AI|API-Request|Generate API Request|Generate AI Response"
_TURN = re.compile(rf"^({_SPEAKERS}):", re.MULTILINE)
_RESULT = "->"


def recognises(record: dict[str, Any]) -> bool:
    described = str(record.get("instruction", ""))
    return {"instruction", "input"} <= set(record) and (
        _REQUEST in described or "API descriptions" in described
    )


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    instruction = require_text("instruction", record["instruction"])
    dialogue = require_text("input", record["input"])
    messages = _messages(dialogue)
    # Some releases keep the descriptions with the dialogue.
    described = f"{instruction}\n{dialogue}"
    output = require_text("output", record.get("expected_output", record.get("output"))).strip()
    metadata = {"id": record["sample_id"]} if "sample_id" in record else {}
    if not output.startswith(_REQUEST):
        yield Draft(messages, _tools(described), [], output.removeprefix("AI:").strip(), metadata)
        return
    calls = python_calls.parse("output", output.removeprefix(_REQUEST))
    yield Draft(messages, _tools(described), calls, metadata=metadata)


def _tools(text: str) -> list[Any]:
    lines = (line.strip() for line in text.splitlines())
    objects = [line for line in lines if line.startswith(('{"name"', '{"apiCode"'))]
    return [json_value("instruction", line) for line in objects]


def _messages(dialogue: str) -> list[Message]:
    """User, AI and earlier requests with their results, up to where the answer is asked for."""
    pieces = _TURN.split(dialogue)[1:]
    messages: list[Message] = []
    for speaker, text in zip(pieces[::2], pieces[1::2], strict=True):
        if speaker == "User":
            messages.append(said("user", text.strip()))
        elif speaker == "AI":
            messages.append(said("assistant", text.strip()))
        elif speaker == "API-Request":
            request, arrow, result = text.partition(_RESULT)
            messages.append(calling(python_calls.parse("input", request)))
            messages += [said("tool", result.strip())] if arrow else []
    if not messages:
        raise Problem("input", dialogue, 'has no line that begins with "User:"')
    return messages
