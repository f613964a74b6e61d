"""The modes a model may be asked to answer in: with a thought before its answer, or without one."""

from __future__ import annotations

from dataclasses import dataclass

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.thinking import syntax_as_json, syntax_from_json
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import JsonObject
from edgetool.errors import UsageError
from edgetool.llama.protocol import Job


class Prompters:
    """A model's prompter for each thinking mode, made when it is first asked for."""

    def __init__(self, default: Prompter) -> None:
        self._default, self._made = default, {default.thinking: default}

    def of(self, job: Job) -> Prompter:
        """Raises UsageError for a thought that the model's template cannot ask for."""
        return self._for(thinks(job, self._default.thinking))

    def _for(self, thinking: bool) -> Prompter:
        if thinking not in self._made:
            self._made[thinking] = self._default.with_thinking(thinking)
        return self._made[thinking]

    def thinking_modes(self) -> ThinkingModes:
        try:
            thoughtful = self._for(True).syntax
        except UsageError:
            thoughtful = None
        return ThinkingModes(self._for(False).syntax, thoughtful, self._default.thinking)


@dataclass(frozen=True)
class ThinkingModes:
    """The call syntax of each thinking mode, for whoever reads completions.

    plain        thinking is off
    thoughtful   it is on; None: the model's template has no switch for it
    thinking     it is on where a job does not say
    """

    plain: CallSyntax
    thoughtful: CallSyntax | None = None
    thinking: bool = False

    @property
    def syntax(self) -> str:
        """The name of both."""
        return self.plain.NAME

    def of(self, job: Job) -> CallSyntax:
        """The syntax of a job's completion."""
        thoughtful = self.thoughtful if thinks(job, self.thinking) else None
        return thoughtful or self.plain

    def note(self) -> str:
        """What a user should know of thinking; "" of a model that never thinks."""
        if self.thoughtful is None:
            return ""
        state = "on" if self.thinking else "off"
        return (
            f"; thinking is {state} (a request's chat_template_kwargs.enable_thinking switches it)"
        )

    def as_json(self) -> JsonObject:
        """As it goes over a pipe."""
        thoughtful = self.thoughtful and syntax_as_json(self.thoughtful)
        plain = syntax_as_json(self.plain)
        return {"plain": plain, "thoughtful": thoughtful, "thinking": self.thinking}

    @classmethod
    def from_json(cls, value: JsonObject) -> ThinkingModes:
        """What `as_json` made."""
        thoughtful = value["thoughtful"] and syntax_from_json(value["thoughtful"])
        return cls(syntax_from_json(value["plain"]), thoughtful, value["thinking"])

    @classmethod
    def named(cls, syntax: str) -> ThinkingModes:
        """Of a model that never thinks."""
        return cls(syntaxes.get(syntax))


def thinks(job: Job, default: bool) -> bool:
    """Whether a job's completion has a thought before it; a value of a schema comes alone."""
    if job.schema is not None:
        return False
    return default if job.thinking is None else job.thinking
