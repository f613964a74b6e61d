"""ToolRL (arXiv:2504.13958): tools and history as text, the turn wanted as tagged text.

Three spellings of the same: parquet rows for GRPO (`prompt`, `reward_model.ground_truth`), rows for
SFT (`instruction`, `input`, `output`), and API-Bank as ToolRL processed it (`system`, `user`,
`answer`), whose ready-made answer is a call or a list of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from edgetool.calls.json_text import INVALID, loads
from edgetool.calls.types import JsonObject, Message
from edgetool.data.check import Problem, mapping, require_text
from edgetool.data.draft import Draft, call_of, json_list, json_value
from edgetool.data.importers.conversation import calling, said

NAME = "toolrl"
ABOUT = "ToolRL: its parquet and SFT rows, and its API-Bank rows"
_TOOL = re.compile(
    r"^\d+\. Name: (?P<name>.*?)\nDescription: (?P<description>.*?)\n"
    r"Parameters: (?P<parameters>.*?)"
    r"(?=^\d+\. Name: |^\*\*|\Z)",
    re.DOTALL | re.MULTILINE,
)
_TAGGED = re.compile(r"<(user|tool_call|obs|response)>(.*?)</\1>", re.DOTALL)
_ROLES = {"user": "user", "obs": "tool", "response": "assistant"}
# API-Bank's rows end in this, which is about how they are scored and nothing that a user says.
_ONE_CALL = "Based on our conversation above, please only make one tool call to solve my need."


def recognises(record: dict[str, Any]) -> bool:
    keys = set(record)
    return (
        {"prompt", "reward_model"} <= keys
        or {"system", "user", "answer"} <= keys
        or (
            {"instruction", "input", "output"} <= keys
            and "<tool_call>" in str(record["instruction"])
        )
    )


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    if "answer" in record:
        yield _from_api_bank(record)
        return
    if "reward_model" in record:
        system, history = (message["content"] for message in record["prompt"])
        answer = mapping("reward_model", record["reward_model"])["ground_truth"]
    else:
        system, history, answer = record["instruction"], record["input"], record["output"]
    calls, completion = _answer(require_text("ground_truth", answer))
    yield Draft(_history(history), _tools(system), calls, completion)


def _from_api_bank(record: dict[str, Any]) -> Draft:
    answers = json_list("answer", record["answer"])
    calls = [call_of(f"answer[{i}]", answer) for i, answer in enumerate(answers)]
    metadata = {"id": record.get("other")} if record.get("other") else {}
    tools = _tools(require_text("system", record["system"]))
    return Draft(_history(require_text("user", record["user"])), tools, calls, metadata=metadata)


def _tools(system: str) -> list[JsonObject]:
    found = [match.groupdict() for match in _TOOL.finditer(system)]
    return [{**tool, "parameters": _parameters(tool["parameters"].strip())} for tool in found]


def _parameters(text: str) -> Any:
    """JSON, or Python's spelling of it, which API-Bank's rows have."""
    value = loads(text)
    if value is not INVALID:
        return value
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise Problem("tools.parameters", text, "is no JSON object") from None


def _history(text: str) -> list[Message]:
    """The dialogue so far, without the thoughts it was made with."""
    messages: list[Message] = []
    for tag, inner in _TAGGED.findall(text):
        content = inner.strip()
        if tag == "tool_call":
            messages.append(calling(_calls("history", content)))
        elif content != _ONE_CALL:
            messages.append(said(_ROLES[tag], content))
    return messages


def _answer(text: str) -> tuple[list[JsonObject], str | None]:
    spoken = text.rpartition("</think>")[2]  # the thought before it may name the tags
    parts = dict(_TAGGED.findall(spoken))
    if "tool_call" in parts:
        return _calls("ground_truth", parts["tool_call"].strip()), None
    if "response" not in parts:
        raise Problem("ground_truth", text, "has neither <tool_call> nor <response>")
    return [], parts["response"].strip()


def _calls(field: str, text: str) -> list[JsonObject]:
    """One call a line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [call_of(field, json_value(field, line)) for line in lines]
