"""Models that may think before they answer: the template's switch, and the thought itself.

Thinking is off unless somebody turns it on. Off is what the model's own template writes for it:
Qwen3's an empty thought, SmolLM3's a line of its system prompt as well. Where it is on, a leading
thought is no part of what a completion is judged by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from edgetool.calls import syntaxes
from edgetool.calls.syntaxes import CallSyntax, Parsed
from edgetool.calls.types import JsonObject, Tool, ToolCall

# Variables by which chat templates are told whether the model is to think.
SWITCHES = ("enable_thinking", "thinking")
# The metadata of a GGUF file whose model was trained with thinking on.
THINKING_KEY = "edgetool.thinking"

_TAG = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_STRING = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_VARIABLE = re.compile(rf"(?<![.\w])(?:{'|'.join(SWITCHES)})(?!\w)")


@dataclass(frozen=True)
class Thought:
    """What stands around a thought.

    opened   the prompt ends with the opening sign, so the completion begins inside the thought
    """

    open: str = "<think>"
    close: str = "</think>"
    opened: bool = False

    def ends_in(self, text: str) -> int | None:
        """Where the answer begins in a completion: 0 without a thought.

        None while the thought is open, and while it is not certain that there is none.
        """
        lead = text.lstrip()
        if not self.opened and not lead.startswith(self.open):
            return None if self.open.startswith(lead) else 0
        end = text.find(self.close)
        if end < 0:
            return None
        rest = text[end + len(self.close) :]
        return len(text) - len(rest.lstrip())


# The signs that templates have for it; a template without any is taken for one of the first kind.
THOUGHTS = (
    Thought(),
    Thought("[THINK]", "[/THINK]"),
    Thought("<|channel>thought", "<channel|>"),  # Gemma 4
    Thought("<seed:think>", "</seed:think>"),
)


def switch_of(template: str) -> str | None:
    """The variable by which a chat template turns thinking off; None where it has none."""
    for tag in _TAG.findall(template):
        found = _VARIABLE.search(_STRING.sub('""', tag))
        if found:
            return found[0]
    return None


def with_default(template: str, thinking: bool) -> str:
    """The template with its switch set where nobody sets it.

    In a file it is also rendered by programs that know nothing of how the model was trained.
    """
    switch = switch_of(template)
    if switch is None:
        return template
    value = "true" if thinking else "false"
    end = "%}" if template[:1].isspace() else "-%}"  # its own first line stays as it is
    setting = f"{{%- if {switch} is not defined %}}{{% set {switch} = {value} %}}{{% endif {end}"
    return f"{setting}\n{template}"


def thought_of(template: str) -> Thought:
    """What stands around the thoughts of a template's model."""
    return next((thought for thought in THOUGHTS if thought.close in template), THOUGHTS[0])


class ThinkingSyntax:
    """A call syntax behind a leading thought; see `syntaxes.CallSyntax`."""

    def __init__(self, plain: CallSyntax, thought: Thought) -> None:
        self.plain, self.thought = plain, thought
        self.NAME, self.START, self.END = plain.NAME, plain.START, plain.END

    def render(self, calls: Sequence[ToolCall]) -> str:
        return self.plain.render(calls)

    def parse(self, text: str, tools: Sequence[Tool] = ()) -> Parsed:
        """What the answer says; a thought that is never closed leaves no answer."""
        begins = self.thought.ends_in(text)
        return self.plain.parse("" if begins is None else text[begins:], tools)

    def grammar(self, tools: Sequence[Tool], *, required: bool = False) -> str:
        return _thought_first(self.plain.grammar(tools, required=required), self.thought)

    def detect(self, template: str) -> bool:
        return self.plain.detect(template)


def thinking_syntax(syntax: CallSyntax, thought: Thought | None) -> CallSyntax:
    """The syntax behind a leading thought, or behind none."""
    plain = plain_syntax(syntax)
    return plain if thought is None else ThinkingSyntax(plain, thought)


def behind_a_thought(syntax: CallSyntax, completion: str) -> CallSyntax:
    """The syntax behind the thought that a completion has, where no prompt tells how it began."""
    found = next((thought for thought in THOUGHTS if thought.close in completion), THOUGHTS[0])
    opened = found.close in completion and found.open not in completion
    return thinking_syntax(syntax, replace(found, opened=opened))


def syntax_as_json(syntax: CallSyntax) -> JsonObject:
    """A syntax as it goes over a pipe; `syntax_from_json` reads it back."""
    thought = asdict(syntax.thought) if isinstance(syntax, ThinkingSyntax) else None
    return {"name": syntax.NAME, "thought": thought}


def syntax_from_json(value: JsonObject) -> CallSyntax:
    thought = value["thought"]
    return thinking_syntax(syntaxes.get(value["name"]), thought and Thought(**thought))


def plain_syntax(syntax: CallSyntax) -> CallSyntax:
    """The syntax of the answer alone."""
    return syntax.plain if isinstance(syntax, ThinkingSyntax) else syntax


def describe(syntax: CallSyntax, template: str) -> str:
    """What a user should know of the syntax in use, and whether a thought comes first."""
    text = syntaxes.describe(syntax, template)
    if not isinstance(syntax, ThinkingSyntax):
        return text
    always = "; the chat template opens a thought in every prompt" if syntax.thought.opened else ""
    return f"{text}, behind a thought{always}"


def answer_begins(syntax: CallSyntax, text: str) -> int | None:
    """Where the answer begins in a completion that is being written; None while that is open."""
    return syntax.thought.ends_in(text) if isinstance(syntax, ThinkingSyntax) else 0


def no_thought(syntax: CallSyntax) -> str:
    """What a completion without a thought has to begin with: the end of one the prompt opened."""
    if not isinstance(syntax, ThinkingSyntax) or not syntax.thought.opened:
        return ""
    return f"{syntax.thought.close}\n\n"


def _thought_first(grammar: str, thought: Thought) -> str:
    """The grammar with a thought before what it allows; one that the prompt opened has to end.

    A thought may hold anything but the sign its end begins with: the engine's lexer does not go
    back.
    """
    first, *rest = grammar.split("\n")
    inside = f'/[^{re.escape(thought.close[0])}]*/ "{thought.close}" ("\\n" "\\n"?)?'
    opening = "" if thought.opened else f'"{thought.open}" '
    return "\n".join(
        [
            f"start: thought{'' if thought.opened else '?'} spoken",
            f"thought: {opening}{inside}",
            f"spoken: {first.removeprefix('start: ')}",
            *rest,
        ]
    )
