"""Conversations: messages in any spelling -> OpenAI's, and one Draft for each turn that calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgetool.calls.formats import hermes
from edgetool.calls.parts import ONLY_TEXT
from edgetool.calls.types import JsonObject, Message
from edgetool.data.check import Problem, text_of_parts
from edgetool.data.draft import Draft, call_of, json_list

# Columns of LLaMA-Factory's, TRL's and others' rows with pictures.
_OTHER_MEDIA = ("images", "image", "videos", "audios", "audio")
_OTHER_MARKS = ("<TOOLCALL>", "<functioncall>", "[TOOL_CALLS]", "<|python_tag|>")


def said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def calling(calls: Sequence[JsonObject], content: str = "") -> Message:
    """The assistant's message with these calls."""
    wrapped = [{"type": "function", "function": call} for call in calls]
    return {"role": "assistant", "content": content, "tool_calls": wrapped}


def spoken(field: str, text: str) -> Message:
    """What the assistant wrote; calls, when some are inside <tool_call> tags. Raises Problem."""
    if any(mark in text for mark in _OTHER_MARKS):
        raise Problem(field, text, "writes its calls as text in a way that is not known here")
    if hermes.START not in text:
        return said("assistant", text)
    parsed = hermes.parse(text)
    if parsed.problem not in (None, "extra_text") or not parsed.calls:
        raise Problem(field, text, f"holds no readable calls ({parsed.problem})")
    return calling([call.as_json() for call in parsed.calls], text.split(hermes.START)[0].strip())


def turns(
    messages: Sequence[Message], tools: Sequence[Any], metadata: JsonObject | None = None
) -> Iterator[Draft]:
    """A Draft for each assistant's message with calls; for a conversation without any, one that
    expects none, with what the assistant said last.

    Raises Problem when the assistant never speaks.
    """
    spoken = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not spoken:
        raise Problem("messages", list(messages), "has no turn of the assistant")
    wanted = [i for i in spoken if messages[i].get("tool_calls")]
    for i in wanted or spoken[-1:]:
        calls = [call["function"] for call in messages[i].get("tool_calls") or []]
        completion = None if calls else messages[i].get("content")
        yield Draft(messages[:i], tools, calls, completion, metadata or {})


def openai_message(field: str, value: Any) -> Message:
    """One message of OpenAI's form, old ones (`function_call`) too. Raises Problem."""
    if not isinstance(value, dict):
        raise Problem(field, value, "must be a JSON object")
    role = {"function": "tool", "developer": "system"}.get(value.get("role", ""), value.get("role"))
    content = text_of_parts(f"{field}.content", value.get("content"))
    called = value.get("tool_calls") or value.get("function_call")
    if called:
        listed = json_list(f"{field}.tool_calls", called)
        calls = [call_of(f"{field}.tool_calls[{i}]", call) for i, call in enumerate(listed)]
        return {**calling(calls, content or ""), "role": role}
    if role == "assistant" and isinstance(content, str):
        return spoken(f"{field}.content", content)
    return {"role": role, "content": content}


def require_only_text(record: JsonObject) -> None:
    """Raises Problem for a record that has images, sounds or films beside its text."""
    for column in _OTHER_MEDIA:
        if record.get(column):
            raise Problem(column, record[column], f"cannot be used: {ONLY_TEXT}")
