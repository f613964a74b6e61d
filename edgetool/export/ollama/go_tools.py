"""Tools and calls in a rendered prompt, found again and put in terms of Ollama's Go values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from edgetool.calls.types import Tool, ToolCall

STRING, INTEGER, CHOICE = "Wstring7", "Winteger7", "Wchoice7"
CHOICES = ["Wred7", "Wblue7"]
PROBES = (
    Tool(
        "Wfirst7",
        "Wfirstly7",
        {
            "type": "object",
            "properties": {
                STRING: {"type": "string", "description": "Wfor7"},
                INTEGER: {"type": "integer", "description": "Wnumber7"},
                CHOICE: {"type": "string", "description": "Wpick7", "enum": CHOICES},
            },
            "required": [STRING],
        },
    ),
    Tool("Wsecond7", "Wsecondly7", {"type": "object", "properties": {}}),
)


NEITHER = "its tools are neither JSON nor plain words"
FUNCTION = "{{ json .Function }}"  # without `json`, Ollama 0.14 and later write Go's own notation
IS_STRING = 'eq (print $p.Type) "string"'
Field = tuple[str, str]  # the word that a probe has there, and the Go that writes it


class Unreadable(ValueError):
    """A template does something that has no place in Ollama's."""


def literal(text: str) -> str:
    """Text as a Go template writes it out: no brace may meet the brace of an action."""
    return re.sub(r"\{(?=\{|$)", '{{ "{" }}', text)


def when(condition: str, then: str, otherwise: str = "") -> str:
    """{{ if ... }}"""
    rest = "{{ else }}" + otherwise if otherwise else ""
    if then == otherwise:
        return then
    return "{{ if " + condition + " }}" + then + rest + "{{ end }}"


def each(loop: str, body: str) -> str:
    """{{ range ... }}"""
    return "{{ range " + loop + " }}" + body + "{{ end }}"


def tools_in_go(text: str, system: str | None) -> str:
    """Rendered text with PROBES and the word `system` in it -> a Go template.

    Raises Unreadable when the tools are not all there.
    """
    start, end, loop = _json_tools(text) or _worded_tools(text)
    parts = [_with_system(text[:start], system), loop, _with_system(text[end:], system)]
    go = "".join(parts)
    if system is not None and "{{ .System }}" not in go:
        raise Unreadable("with tools it leaves the system message out")
    return go


def _with_system(text: str, system: str | None) -> str:
    if system is None or system not in text:
        return literal(text)
    before, _, after = text.partition(system)
    return literal(before) + "{{ .System }}" + literal(after)


def _json_tools(text: str) -> tuple[int, int, str] | None:
    """Where the tools lie as JSON objects, and the Go that writes any number of them."""
    for whole, go in (
        (True, '{"type": "function", "function": ' + FUNCTION + "}"),
        (False, FUNCTION),
    ):
        wanted = [tool.as_openai() if whole else tool.as_openai()["function"] for tool in PROBES]
        spans = [_find_json(text, value) for value in wanted]
        first, second = spans
        if first and second and first[1] <= second[0]:
            between = literal(text[first[1] : second[0]])
            loop = each("$n, $t := .Tools", when("$n", between) + go)
            return first[0], second[1], loop
    return None


def _find_json(text: str, wanted: Any) -> tuple[int, int] | None:
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, end = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        if value == wanted:
            return match.start(), end
    return None


def _worded_tools(text: str) -> tuple[int, int, str]:
    """Tools in words: a name and a description, in either order, and a line per parameter."""
    tool = _in_order(text, ("Wfirst7", "{{ .Function.Name }}"),
                     ("Wfirstly7", "{{ .Function.Description }}"))  # fmt: skip
    line = _in_order(text, (STRING, "{{ $k }}"), ("Wfor7", "{{ $p.Description }}"))
    named_first = line[0][0] == STRING
    words = [word for word, _ in (*tool, *line)]
    for pair in ((INTEGER, "Wnumber7"), (CHOICE, "Wpick7")):
        words += pair if named_first else reversed(pair)
    words += [json.dumps(CHOICES), *(word.replace("first", "second") for word, _ in tool)]
    gaps, rest = _gaps(text, words)
    start, say, before, plain, again, typed, tail, chosen, enum, next_tool, say_again = gaps
    expected = [(say_again, say), (again, before), (chosen, plain)]
    if any(one != other for one, other in expected):
        raise Unreadable(NEITHER)
    if not (start.endswith(next_tool) and tail.endswith(before)):
        raise Unreadable(NEITHER)
    parameter = (
        literal(before)
        + line[0][1]
        + when(IS_STRING, literal(plain), _of_type(typed))
        + line[1][1]
        + when(IS_STRING, "", _of_type(tail.removesuffix(before)))
        + when("$p.Enum", literal(enum) + "{{ json $p.Enum }}")
    )
    loop = each(
        ".Tools",
        literal(next_tool)
        + tool[0][1]
        + literal(say)
        + tool[1][1]
        + each("$k, $p := .Function.Parameters.Properties", parameter),
    )
    return len(start) - len(next_tool), len(text) - len(rest), loop


def _in_order(text: str, one: Field, other: Field) -> tuple[Field, Field]:
    return (one, other) if text.find(one[0]) < text.find(other[0]) else (other, one)


def _gaps(text: str, words: Sequence[str]) -> tuple[list[str], str]:
    """What stands before each of the words, and behind the last; each is there once, in order."""
    if any(text.count(word) != 1 for word in words):
        raise Unreadable(NEITHER)
    gaps, rest = [], text
    for word in words:
        before, found, rest = rest.partition(word)
        if not found:
            raise Unreadable(NEITHER)
        gaps.append(before)
    return gaps, rest


def _of_type(text: str) -> str:
    return literal(text).replace("integer", "{{ $p.Type }}")


def marker_of(text: str, calls: Sequence[ToolCall]) -> str:
    """What Ollama looks for in a completion, given rendered calls: the text before the first name,
    up to a brace; a brace where there is no such text."""
    return text[: text.find(calls[0].name)].partition("{")[0].strip() or "{"


def calls_in_go(text: str, calls: Sequence[ToolCall], marker: str) -> str:
    """Two rendered calls -> the Go that writes any number of them, and nothing where there is none.

    Ollama takes the first text behind `if .ToolCalls` for the marker of a call in a completion. So
    that is the text before the first call, not the one between two, and it begins with `marker`:
    what a template writes before, such as an empty thought, has a condition of its own.

    Raises Unreadable when a call's name is not there, followed by its arguments as JSON, or when
    the marker is not before it.
    """
    one, two = calls
    first, second = _find_json(text, one.arguments), _find_json(text, two.arguments)
    names = text.find(one.name), text.find(two.name)
    if not first or not second or not 0 <= names[0] < first[0] < names[1] < second[0]:
        raise Unreadable("it does not write a call's name and then its arguments as JSON")
    opening = text[: names[0]]
    if marker not in opening:
        raise Unreadable(f"it does not write {marker!r} before its calls")
    start = opening.find(marker)
    if not opening[:start].strip():
        start = 0
    middle = literal(text[names[0] + len(one.name) : first[0]])
    between, ending = literal(text[first[1] : names[1]]), literal(text[second[1] :])
    call = "{{ $c.Function.Name }}" + middle + "{{ $c.Function.Arguments }}"
    begun = when("not $n", literal(opening[start:]), between)
    written = when(".ToolCalls", each("$n, $c := .ToolCalls", begun + call) + ending)
    if not start:
        return written
    return "{{ $calls := .ToolCalls }}" + when("$calls", literal(opening[:start])) + written
