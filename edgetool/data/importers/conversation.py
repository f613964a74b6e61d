"""Conversations: messages in any spelling -> OpenAI's, and one Draft for each turn that calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgetool.calls.json_text import INVALID, loads
from edgetool.calls.prompt.content_parts import ONLY_TEXT
from edgetool.calls.syntaxes.literals import PYTHON, read_value
from edgetool.calls.types import JsonObject, Message
from edgetool.data.check import Problem, require_text, text_of_parts
from edgetool.data.draft import Draft, call_of, json_list
from edgetool.data.importers import tagged

# Columns of LLaMA-Factory's, TRL's and others' rows with pictures.
_OTHER_MEDIA = ("images", "image", "videos", "audios", "audio")
# Roles as data sets call them; others are told to be none.
ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(
        ("tool", "function", "tool_response", "function_response", "observation", "ipython"), "tool"
    ),
    **dict.fromkeys(("system", "developer"), "system"),
}
CALLING = ("function_call", "tool_call")  # the assistant's turn, which is nothing but its calls
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
LEFT_THOUGHTS = "thoughts"
LEFT_TOOLS = "a system message's own list of tools"


def said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def calling(calls: Sequence[JsonObject], content: str = "") -> Message:
    """The assistant's message with these calls."""
    wrapped = [{"type": "function", "function": call} for call in calls]
    return {"role": "assistant", "content": content, "tool_calls": wrapped}


def spoken(field: str, text: str) -> Message:
    """What the assistant wrote; calls, when some stand between tags. Raises Problem."""
    words, calls = tagged.split_calls(field, text)
    return calling(calls, words) if calls else said("assistant", words)


def written_calls(field: str, text: str) -> Message:
    """A turn that is a call: its JSON or Python dict, a list of them, perhaps behind a thought."""
    thought, written = tagged.split_thought(text)
    if tagged.holds_calls(written):
        return spoken(field, text)
    value = loads(written)
    value = read_value(written, PYTHON) if value is INVALID else value
    if value is INVALID:
        raise Problem(field, text, "is no call; give its JSON")
    listed = value if isinstance(value, list) else [value]
    return calling([call_of(f"{field}[{i}]", call) for i, call in enumerate(listed)], thought)


def turns(
    messages: Sequence[Message], tools: Sequence[Any], metadata: JsonObject | None = None
) -> Iterator[Draft]:
    """A Draft for each assistant's message with calls; for a conversation without any, one that
    expects none, with what the assistant said last.

    What a model's own template says better is left out and named: thoughts, and a list of tools in
    the system message, which is read where the record has no other.
    Raises Problem when the assistant never speaks.
    """
    if not tools:
        tools = _tools_of_system(messages)
    messages, left_out = _plain(messages)
    spoken = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not spoken:
        raise Problem("messages", list(messages), "has no turn of the assistant")
    wanted = [i for i in spoken if messages[i].get("tool_calls")]
    for i in wanted or spoken[-1:]:
        calls = [call["function"] for call in messages[i].get("tool_calls") or []]
        completion = None if calls else messages[i].get("content")
        yield Draft(messages[:i], tools, calls, completion, metadata or {}, left_out)


def _tools_of_system(messages: Sequence[Message]) -> list[Any]:
    systems = [m["content"] for m in messages if m["role"] == "system" and m.get("content")]
    listing = next((text for text in systems if tagged.lists_tools(text)), None)
    return [] if listing is None else tagged.listed_tools("messages", listing)


def _plain(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """The messages as a template takes them, and what of them was left out."""
    plain: list[Message] = []
    left_out: dict[str, None] = {}  # in order, each once
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "tool" and isinstance(content, str):
            plain += [{**message, "content": text} for text in tagged.results(content)]
        elif role == "system" and isinstance(content, str) and tagged.lists_tools(content):
            left_out[LEFT_TOOLS] = None
            words = tagged.words_before_tools(content)
            plain += [said("system", words)] if words else []
        elif role == "assistant" and isinstance(content, str):
            thought, words = tagged.split_thought(content)
            left_out.update({LEFT_THOUGHTS: None} if thought.strip() else {})
            _add_turn(plain, {**message, "content": words})
        else:
            plain.append(message)
    return plain, list(left_out)


def _add_turn(messages: list[Message], turn: Message) -> None:
    """Add what the assistant said and called; two turns with nothing between them are one.

    So are written: words before a call as a turn of their own, and calls at once one by one.
    """
    before = messages[-1] if messages else {}
    if before.get("role") != "assistant" or not turn.get("tool_calls"):
        messages.append(turn)
        return
    words = "\n".join(text for text in (before.get("content"), turn["content"]) if text)
    calls = [*(before.get("tool_calls") or []), *turn["tool_calls"]]
    messages[-1] = {**turn, "content": words, "tool_calls": calls}


def openai_message(field: str, value: Any) -> Message:
    """One message of OpenAI's form, old ones (`function_call`) too. Raises Problem."""
    if not isinstance(value, dict):
        remedy = 'must be a message such as {"role": "user", "content": "..."}'
        raise Problem(field, value, remedy)
    role = ROLES.get(str(value.get("role")), value.get("role"))
    content = text_of_parts(f"{field}.content", value.get("content"))
    if role in CALLING:
        return written_calls(f"{field}.content", require_text(f"{field}.content", content))
    thought = next((value[key] for key in _THOUGHTS if isinstance(value.get(key), str)), "")
    if role == "assistant" and thought.strip():
        content = f"<think>{thought}</think>{content or ''}"
    called = value.get("tool_calls") or value.get("function_call")
    if called:
        listed = json_list(f"{field}.tool_calls", called)
        calls = [call_of(f"{field}.tool_calls[{i}]", call) for i, call in enumerate(listed)]
        return {**calling(calls, content or ""), "role": role}
    if role == "assistant" and isinstance(content, str):
        return spoken(f"{field}.content", content)
    return {"role": role, "content": content}


def openai_messages(value: Any) -> list[Message]:
    """A list of messages, or its JSON text. Raises Problem."""
    listed = json_list("messages", value)
    return [openai_message(f"messages[{i}]", message) for i, message in enumerate(listed)]


def require_only_text(record: JsonObject) -> None:
    """Raises Problem for a record that has images, sounds or films beside its text."""
    for column in _OTHER_MEDIA:
        if record.get(column):
            raise Problem(column, record[column], f"cannot be used: {ONLY_TEXT}")
