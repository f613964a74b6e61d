"""From messages and tools to token ids: the one way a prompt is made.

Training, evaluation and serving all come through here, so a model sees the same ids everywhere.
The template is the model's own (Jinja, in a sandbox with limits); control markers count only where
the template itself wrote them, never in what a user, a tool or a schema says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.prompt import template as templates
from edgetool.calls.prompt.history import with_objects
from edgetool.calls.prompt.markers import CUT, escaper_for
from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.calls.prompt.thinking import no_thought, switch_of, thinking_syntax, thought_of
from edgetool.calls.prompt.turns import TurnEnds, turn_ends
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.errors import ModelError, UsageError

Encode = Callable[[str], Sequence[int]]  # text -> ids, markers read as control tokens, no BOS added

_PROBE = Tool("probe", "A tool", {"type": "object", "properties": {}})


def render_prompt(
    template: str,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    markers: Iterable[str],
    *,
    add_generation_prompt: bool = True,
    **variables: Any,
) -> list[str]:
    """The prompt as pieces of text; tokenizing them one by one gives its ids.

    template   a chat template in Jinja, as in tokenizer_config.json
    markers    the texts of all control tokens; where one occurs in `messages` or `tools`, or could
               come about beside what the template writes, the pieces are cut inside it, so no
               tokenizer can read it as a control token
    variables  further names the template sees (bos_token, enable_thinking, ...)

    Raises ModelError when the template refuses the conversation, is broken or takes too much.
    """
    escape = escaper_for(tuple(markers))
    given = {
        "messages": escape(with_objects(messages)),
        "tools": escape([tool.as_openai() for tool in tools]) or None,
        "documents": None,  # as transformers: a template may ask whether there is one
        "add_generation_prompt": add_generation_prompt,
        **variables,
    }
    return _pieces(templates.render(template, given))


def _pieces(text: str) -> list[str]:
    return [piece for piece in text.split(CUT) if piece]


@dataclass(frozen=True)
class Prompter:
    """What a model needs to turn an example into prompt ids, whatever engine runs it.

    encode      text -> ids with control markers recognised and nothing added (no BOS, no EOS)
    variables   what the template sees besides messages and tools (bos_token, ...)
    choice      how the template came to be used, where it was chosen for a model
    thinking    the template is told that the model is to think, where it has a switch for it; see
                `with_thinking`, which also makes the syntax one behind a thought
    """

    template: str
    markers: tuple[str, ...]
    encode: Encode
    syntax: CallSyntax
    variables: Mapping[str, Any] = field(default_factory=dict)
    choice: ChatTemplate | None = None
    thinking: bool = False

    def ids(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """Token ids [P] of the prompt, ready for the model to write its completion."""
        return encode_pieces(self.pieces(messages, tools), self.encode)

    def completion_ids(self, said: Sequence[ToolCall] | str) -> list[int]:
        """Token ids [C] of calls in the call syntax, or of words; no stop token behind them.

        Control markers count only where the syntax itself writes them.
        """
        escape = escaper_for(self.markers)
        if isinstance(said, str):
            text = escape(said)
        else:
            escaped = [ToolCall(escape(call.name), escape(call.arguments)) for call in said]
            text = self.syntax.render(escaped)
        return encode_pieces(_pieces(no_thought(self.syntax) + text), self.encode)

    def text_ids(self, text: str) -> list[int]:
        """Token ids of text as it stands, its control markers cut apart."""
        return encode_pieces(_pieces(escaper_for(self.markers)(text)), self.encode)

    def turn_ends(self) -> TurnEnds:
        """The control markers that the template writes behind an assistant's turn."""

        def render(messages: Sequence[Message]) -> str:
            return "".join(self.pieces(messages, (), add_generation_prompt=False))

        return turn_ends(render, self.markers, syntaxes.detect(self.template))

    def with_thinking(self, on: bool) -> Prompter:
        """The same for a model that thinks before it answers, or does not.

        A template may open a thought in every prompt; then the syntax expects one either way.
        Raises UsageError where thinking is to be on and the template has no way to say so.
        """
        found = replace(self, thinking=on, syntax=thinking_syntax(self.syntax, None))
        thought = thought_of(self.template)
        if not found._has_thoughts:
            opened, differs = False, False
        else:
            prompt = found._prompt_text()
            opened = prompt.rstrip().endswith(thought.open)
            differs = prompt != replace(found, thinking=not on)._prompt_text()
        if on and not (opened or differs):
            raise UsageError(
                "thinking cannot be switched on: this model's chat template has no switch for it; "
                "leave --thinking (or `thinking: true`) out"
            )
        if not (on or opened):
            return found
        thought = replace(thought, opened=opened)
        return replace(found, syntax=thinking_syntax(self.syntax, thought))

    @property
    def _has_thoughts(self) -> bool:
        return bool(switch_of(self.template)) or thought_of(self.template).open in self.template

    def _prompt_text(self) -> str:
        """A short prompt's text; "" where the template refuses it."""
        try:
            return "".join(self.pieces([{"role": "user", "content": "?"}], [_PROBE]))
        except ModelError:
            return ""

    def spoken_markers(self) -> tuple[str, ...]:
        """The markers that the model itself writes: those of calls and of thoughts.

        Some models have control tokens for them (Mistral's [TOOL_CALLS]), of which a completion's
        text must not be without.
        """
        arguments = {"text": "a", "list": ["a"], "object": {"a": True}}
        thought = thought_of(self.template)
        call = self.syntax.render([ToolCall("f", arguments)])
        said = f"{self.syntax.START}{call}{self.syntax.END}{thought.open}{thought.close}"
        return tuple(marker for marker in self.markers if marker in said)

    def pieces(
        self, messages: Sequence[Message], tools: Sequence[Tool], **settings: bool
    ) -> list[str]:
        """The prompt's text, in pieces for `encode_pieces`."""
        switch = switch_of(self.template)
        if switch is not None:
            settings[switch] = self.thinking
        return render_prompt(
            self.template, messages, tools, self.markers, **{**self.variables, **settings}
        )


def encode_pieces(pieces: Sequence[str], encode: Encode) -> list[int]:
    """Token ids [P] of the pieces `render_prompt` returned."""
    return [token for piece in pieces for token in encode(piece)]
