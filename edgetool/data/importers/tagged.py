"""What data sets write into their messages' text: calls between tags, thoughts, results, tools.

    <tool_call>{"name": ..., "arguments": {...}}</tool_call>   Hermes, also as a Python dict
    <functioncall> {"name": ..., "arguments": '{...}'}          Glaive, one after another
    <TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>    NVIDIA, also as Python calls

A model's own template writes calls, results and tools in its own way, so all of it becomes data.
"""

from __future__ import annotations

import re
from typing import Any

from edgetool.calls.json_text import INVALID, loads, loads_at
from edgetool.calls.syntaxes import hermes
from edgetool.calls.syntaxes.literals import PYTHON, Reader, Unreadable, read_value
from edgetool.calls.types import JsonObject
from edgetool.data.check import Problem
from edgetool.data.draft import call_of, json_value
from edgetool.data.importers import python_calls

_FUNCTION_CALL = "<functioncall>"
_TOOLCALL = "<TOOLCALL>"
_UNKNOWN = ("[TOOL_CALLS]", "<|python_tag|>")
_END_OF_TEXT = "<|endoftext|>"
_CLOSING = re.compile(r"\s*</tool_call>")
_QUOTED = re.compile(
    r'\{\s*"name"\s*:\s*"(?P<name>[^"]+)"\s*(?:,\s*"arguments"\s*:\s*\'(?P<arguments>.*)\')?\s*\}',
    re.DOTALL,
)
_THOUGHT = re.compile(r"\s*<(think|thinking|thought|reasoning|scratch_pad)>.*?</\1>\s*", re.DOTALL)
_LATE_THOUGHT = re.compile(r"\A.*</think>\s*", re.DOTALL)  # whose opening tag was in the prompt
_RESULT = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
# A list of tools in a system message, and where what stands before it ends.
_LISTED = re.compile(r"<tools>|<AVAILABLE_TOOLS>|\[AVAILABLE_TOOLS\]|<\|im_system\|>tool_declare")
_LIST = re.compile(r"<(tools|AVAILABLE_TOOLS)>(.*?)</\1>", re.DOTALL)
_HEADING = re.compile(r"^#+ *Tools\b", re.MULTILINE)


def split_calls(field: str, text: str) -> tuple[str, list[JsonObject]]:
    """What the assistant wrote -> its words, and its calls where some stand between tags.

    Raises Problem for calls that cannot be read, and for tags of a kind that is not known here.
    """
    thought, text = split_thought(text)
    if any(mark in text for mark in _UNKNOWN):
        raise Problem(field, text, "writes its calls as text in a syntax that is not known here")
    for mark, read in _READERS.items():
        if mark in text:
            words, calls = read(field, text)
            return thought + words, calls
    return thought + text, []


def holds_calls(text: str) -> bool:
    """Whether calls stand between tags in the text."""
    return any(mark in text for mark in _READERS)


def split_thought(text: str) -> tuple[str, str]:
    """The thoughts at the start of what the assistant wrote, and the rest."""
    at = 0
    while found := _THOUGHT.match(text, at):
        at = found.end()
    if not at and "<think>" not in text and (late := _LATE_THOUGHT.match(text)):
        at = late.end()
    return text[:at], text[at:]


def results(text: str) -> list[str]:
    """What tools answered, without the tags around it."""
    found = [inner.strip() for inner in _RESULT.findall(text)]
    return found or [text]


def lists_tools(system: str) -> bool:
    """Whether a system message lists the tools itself."""
    return _LISTED.search(system) is not None


def words_before_tools(system: str) -> str:
    """What a system message says before it comes to the tools, "" where it begins with them."""
    heading = _HEADING.search(system)
    return system[: heading.start()].strip() if heading else ""


def listed_tools(field: str, system: str) -> list[Any]:
    """The tools that a system message lists. Raises Problem when they cannot be read."""
    # Instructions name the empty tags before they fill them.
    filled = (inner.strip() for _, inner in _LIST.findall(system))
    text = next((inner for inner in filled if inner.startswith(("[", "{"))), None)
    if text is None:
        raise Problem(field, system, "holds no JSON list of tools")
    whole = loads(text)
    if whole is not INVALID:
        return whole if isinstance(whole, list) else [whole]
    return [json_value(field, line) for line in text.splitlines() if line.strip()]


def _hermes(field: str, text: str) -> tuple[str, list[JsonObject]]:
    calls: list[JsonObject] = []
    outside, position = "", 0
    while (start := text.find(hermes.START, position)) >= 0:
        outside += text[position:start]
        value, end = _value_at(text, start + len(hermes.START))
        closing = _CLOSING.match(text, end) if value is not INVALID else None
        if closing is None:
            raise Problem(field, text[start:], "holds no readable call between its tags")
        listed = value if isinstance(value, list) else [value]
        calls += [call_of(field, one) for one in listed]
        position = closing.end()
    return _joined(outside + text[position:]), calls


def _value_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON or Python value that begins here, and where it ends; (INVALID, start) for none."""
    value, end = loads_at(text, start)
    if value is not INVALID:
        return value, end
    reader = Reader(text, start, PYTHON)
    try:
        return reader.value(), reader.at
    except Unreadable:
        return INVALID, start


def _glaive(field: str, text: str) -> tuple[str, list[JsonObject]]:
    before, *written = text.replace(_END_OF_TEXT, "").split(_FUNCTION_CALL)
    return before.strip(), [_quoted_call(field, one.strip()) for one in written]


def _quoted_call(field: str, text: str) -> JsonObject:
    """{"name": "f", "arguments": '{"a": 1}'}: JSON but for the quotes around the arguments."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return call_of(field, json_value(field, text))
    arguments = (quoted["arguments"] or "{}").replace("\\'", "'")
    return {"name": quoted["name"], "arguments": json_value(field, arguments)}


def _nvidia(field: str, text: str) -> tuple[str, list[JsonObject]]:
    before, _, behind = text.partition(_TOOLCALL)
    written, _, after = behind.partition("</TOOLCALL>")
    if python_calls.is_calls(written):
        calls = python_calls.parse(field, written)
    else:
        value = read_value(written, PYTHON)
        if not isinstance(value, list):
            raise Problem(field, written, "holds no readable list of calls between its tags")
        calls = [call_of(field, one) for one in value]
    return _joined(f"{before}\n{after}"), calls


def _joined(outside: str) -> str:
    """The words around calls, which stood on lines of their own."""
    return re.sub(r"\n{3,}", "\n\n", outside).strip()


_READERS = {hermes.START: _hermes, _FUNCTION_CALL: _glaive, _TOOLCALL: _nvidia}
