"""Reading a completion while it is being written.

    stream = CallStream(syntax, tools)
    for piece in pieces:
        for event in stream.feed(piece): ...   # str: prose to show; ToolCall: a call that is whole
    parsed = stream.finish(finished=True)      # what syntaxes.read says of the whole text
    for event in stream.rest: ...              # what only the end made certain

Prose is held back where it might be the beginning of a call. Calls come as soon as their END is
there, in syntaxes that write one list at the latest with `rest`. However the text is cut into
pieces, the events of feed and rest are the same calls in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls import syntaxes
from edgetool.calls.prompt.thinking import answer_begins
from edgetool.calls.syntaxes import CallSyntax, Parsed
from edgetool.calls.types import Tool, ToolCall

Event = str | ToolCall


class CallStream:
    """One completion. `rest` is filled by `finish`."""

    def __init__(self, syntax: CallSyntax, tools: Sequence[Tool] = ()) -> None:
        self.syntax, self.tools = syntax, tools
        self.text = ""
        self.rest: list[Event] = []
        self._said = 0  # characters of prose that were given out
        self._made = 0  # calls that were given out
        self._opened = -1  # where the first START stands
        self._looked = 0  # up to here no START was found

    @property
    def opened(self) -> int:
        """Where the first call begins in `text`, -1 while none does."""
        return self._opened

    def feed(self, piece: str) -> list[Event]:
        """What is certain now that `piece` was written. Never raises."""
        self.text += piece
        events: list[Event] = []
        if self._opened < 0:
            self._look_for_a_call()
            events += self._prose()
        if self._opened >= 0 and self._may_have_closed(piece):
            events += self._calls(self.syntax.parse(self.text, self.tools))
        return events

    def _look_for_a_call(self) -> None:
        """In the answer alone: what a thought says of calls is none."""
        begins = answer_begins(self.syntax, self.text)
        if begins is None:
            return
        self._looked = max(self._looked, begins)
        self._opened = self.text.find(self.syntax.START, self._looked)
        self._looked = max(self._looked, len(self.text) - len(self.syntax.START) + 1)

    def finish(self, *, finished: bool) -> Parsed:
        """The whole completion, read as training and evaluation read it (see syntaxes.read)."""
        parsed = syntaxes.read(self.syntax, self.text, self.tools, finished=finished)
        self.rest = list(self._calls(parsed))
        if not parsed.calls and self._said < len(self.text):
            self.rest.append(self.text[self._said :])
        return parsed

    def _prose(self) -> list[Event]:
        end = self._opened if self._opened >= 0 else len(self.text) - self._held_back()
        prose = self.text[self._said : end]
        self._said += len(prose)
        return [prose] if prose else []

    def _held_back(self) -> int:
        """Characters at the end that may be the beginning of START."""
        start = self.syntax.START
        lengths = range(min(len(start) - 1, len(self.text)), 0, -1)
        return next((n for n in lengths if self.text.endswith(start[:n])), 0)

    def _may_have_closed(self, piece: str) -> bool:
        end = self.syntax.END
        return end in self.text[-(len(piece) + len(end) - 1) :]

    def _calls(self, parsed: Parsed) -> Sequence[ToolCall]:
        new = parsed.calls[self._made :]
        self._made += len(new)
        return new
