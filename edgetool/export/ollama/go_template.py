"""A chat template in Jinja as one in Go, for Ollama, found out by asking the Jinja one.

The template renders conversations of known words; what stands between the words is what it writes
around a turn, a tool and a call. Ollama fills the same places from .Tools, .Messages and
.ToolCalls. Where tools cannot be read off, they are shown as plain JSON and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.errors import ModelError
from edgetool.export.ollama.go_tools import (
    FUNCTION,
    PROBES,
    Unreadable,
    calls_in_go,
    each,
    literal,
    marker_of,
    tools_in_go,
    when,
)

# Words no template writes by itself.
SYSTEM, USER, AGAIN = "Wsystem7", "Wuser7", "Wagain7"
ASSISTANT, RESULT = "Wassistant7", "Wresult7"
CALLS = (ToolCall("Wone7", {"Wargument7": "Wvalue7"}), ToolCall("Wtwo7", {"Wargument8": 8}))


_INSTEAD = "type --ollama without --ollama-template, and Ollama runs the file's own chat template"


@dataclass
class GoTemplate:
    """The template, and what it does otherwise than the model's own."""

    text: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """What the template writes around the turns of a conversation."""

    head: str
    system_start: str
    system_end: str
    user_start: str
    user_end: str
    assistant_start: str
    assistant_end: str
    generation: str


def go_template(
    template: str, syntax: CallSyntax, variables: Mapping[str, Any] | None = None
) -> GoTemplate:
    """The Go template of a Jinja one.

    syntax      what the model writes its calls in
    variables   what the template sees besides messages and tools; Ollama puts the token that
                begins a text there itself, so bos_token stays empty

    Raises ModelError when not even plain turns can be read off, and for a syntax whose calls Ollama
    finds in no completion: behind a template of its own it looks for a name and JSON arguments.
    """
    try:
        _calls_of(syntax)
    except Unreadable as error:
        raise ModelError(
            f"call syntax '{syntax.NAME}' has no template for Ollama ({error}); {_INSTEAD}"
        ) from error
    say = partial(_say, template, {**(variables or {}), "bos_token": ""})
    try:
        frame = _frame(say)
    except (Unreadable, ModelError) as error:
        raise ModelError(
            f"the chat template cannot be turned into one for Ollama ({error}); {_INSTEAD}"
        ) from error
    notes: list[str] = []
    head = _head(say, frame, syntax, notes)
    calls = _calls(say, frame, syntax, notes)
    result_start, result_end = _result(say, frame, notes)
    user = literal(frame.user_start) + "{{ .Content }}" + literal(frame.user_end)
    assistant = (
        literal(frame.assistant_start)
        + "{{ .Content }}"
        + calls
        + when("not $last", literal(frame.assistant_end))
    )
    result = literal(result_start) + "{{ .Content }}" + literal(result_end)
    turn = (
        "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        + when('eq .Role "user"', user)
        + when('eq .Role "assistant"', assistant)
        + when('eq .Role "tool"', result)
        + when('and $last (ne .Role "assistant")', literal(frame.generation))
    )
    text = head + each("$i, $m := .Messages", turn)
    return GoTemplate(text, notes)


def _say(
    template: str,
    variables: Mapping[str, Any],
    messages: Sequence[Message],
    tools: Sequence[Tool] = (),
    *,
    generation: bool = False,
) -> str:
    pieces = render_prompt(
        template, messages, tools, (), add_generation_prompt=generation, **variables
    )
    return "".join(pieces)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


_SYSTEM, _USER = _turn("system", SYSTEM), _turn("user", USER)


def _frame(say: Any) -> Frame:
    chat = [_USER, _turn("assistant", ASSISTANT)]
    before_user, user_end = _split(say([_USER]), USER)
    _, assistant_end = _split(say(chat), ASSISTANT)
    _, between, rest = _split(say([*chat, _turn("user", AGAIN)]), USER, AGAIN)
    assistant_start, user_start = _split(_after(between, user_end), ASSISTANT)
    user_start = _after(user_start, assistant_end)
    if rest != user_end:
        raise Unreadable("it writes the last user turn otherwise than the ones before")
    system_start, system_end, _ = _split(say([_SYSTEM, _USER]), SYSTEM, USER)
    return Frame(
        head=_before(before_user, user_start),
        system_start=system_start,
        system_end=_before(system_end, user_start),
        user_start=user_start,
        user_end=user_end,
        assistant_start=assistant_start,
        assistant_end=assistant_end,
        generation=_after(say([_USER], generation=True), say([_USER])),
    )


def _split(text: str, *words: str) -> list[str]:
    """The text around words that occur once each, in order."""
    parts = []
    for word in words:
        if text.count(word) != 1:
            raise Unreadable(f"it writes a message {text.count(word)} times")
        before, _, text = text.partition(word)
        parts.append(before)
    return [*parts, text]


def _after(text: str, start: str) -> str:
    if not text.startswith(start):
        raise Unreadable("what it writes around a turn depends on the turns beside it")
    return text[len(start) :]


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise Unreadable("what it writes around a turn depends on the turns beside it")
    return text[: len(text) - len(end)]


def _head(say: Any, frame: Frame, syntax: CallSyntax, notes: list[str]) -> str:
    """All before the first user turn: system message and tools, one of them, or neither."""
    system = literal(frame.system_start) + "{{ .System }}" + literal(frame.system_end)
    try:
        both, tools = (
            _before(_split(say([*start, _USER], PROBES), USER)[0], frame.user_start)
            for start in ([_SYSTEM], [])
        )
        in_both, in_tools = tools_in_go(both, SYSTEM), tools_in_go(tools, None)
    except (Unreadable, ModelError) as error:
        notes.append(f"tools are shown as plain JSON, otherwise than in training: {error}")
        shown = _plain_tools(syntax)
        in_both = system.replace("{{ .System }}", "{{ .System }}" + shown, 1)
        in_tools = literal(frame.system_start) + shown.lstrip("\n") + literal(frame.system_end)
    if FUNCTION in in_tools:
        notes.append("Ollama writes the JSON of tools in its own order, without training's blanks")
    without = when(".System", system, literal(frame.head))
    return when(".Tools", when(".System", in_both, in_tools), without)


def _plain_tools(syntax: CallSyntax) -> str:
    example = syntax.render([ToolCall("tool_name", {"argument": "value"})])
    listed = each(".Tools", "{{ json . }}\n")
    return f"\n\nYou may call these tools:\n{listed}Call a tool like this:\n{literal(example)}"


def _calls(say: Any, frame: Frame, syntax: CallSyntax, notes: list[str]) -> str:
    """The calls of an assistant's turn in Go."""
    entries = [
        {"type": "function", "id": f"Wcall777{n}", "function": call.as_json()}
        for n, call in enumerate(CALLS)
    ]
    turn = {"role": "assistant", "content": "", "tool_calls": entries}
    try:
        text = _split(say([_USER, turn]), USER)[1]
        text = _after(text, frame.user_end + frame.assistant_start)
        written = _before(text, frame.assistant_end)
        return calls_in_go(written, CALLS, marker_of(syntax.render(CALLS), CALLS))
    except (Unreadable, ModelError) as error:
        notes.append(f"earlier calls are shown in call syntax '{syntax.NAME}': {error}")
        return _calls_of(syntax)


def _calls_of(syntax: CallSyntax) -> str:
    """The calls of a turn as the syntax itself writes them."""
    text = syntax.render(CALLS)
    return calls_in_go(text, CALLS, marker_of(text, CALLS))


def _result(say: Any, frame: Frame, notes: list[str]) -> tuple[str, str]:
    """What stands around a tool's result."""
    entry = {"type": "function", "id": "Wcall7770", "function": CALLS[0].as_json()}
    turn = {"role": "assistant", "content": "", "tool_calls": [entry]}
    result = {**_turn("tool", RESULT), "tool_call_id": "Wcall7770", "name": CALLS[0].name}
    try:
        start, end = _split(_after(say([_USER, turn, result]), say([_USER, turn])), RESULT)
        return start, end
    except (Unreadable, ModelError) as error:
        notes.append(f"a tool's result is shown as a user's turn: {error}")
        return frame.user_start, frame.user_end
