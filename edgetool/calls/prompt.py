"""From messages and tools to token ids: the one way a prompt is made.

Training, evaluation and serving all come through here, so a model sees the same ids everywhere.
The template is the model's own (Jinja, in a sandbox); control markers count only where the template
itself wrote them, never in what a user, a tool or a schema says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgetool.calls.formats import CallSyntax
from edgetool.calls.formats.base import dumps
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.errors import ModelError

# A Unicode noncharacter: no text has a use for it, so it can mark a cut and be removed again.
_CUT = "\ufdd0"

Encode = Callable[[str], Sequence[int]]  # text -> ids, markers read as control tokens, no BOS added


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
    markers    the texts of all control tokens; where one occurs in `messages` or `tools`, the
               pieces are cut inside it, so no tokenizer can read it as a control token
    variables  further names the template sees (bos_token, enable_thinking, ...)

    Raises ModelError when the template refuses the conversation or is broken.
    """
    guard = _Guard(markers)
    try:
        text = _compile(template).render(
            messages=guard(list(messages)),
            tools=guard([tool.as_openai() for tool in tools]) or None,
            add_generation_prompt=add_generation_prompt,
            **variables,
        )
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        raise ModelError(
            f"the model's chat template cannot render this conversation: {error}"
        ) from error
    return [piece for piece in text.split(_CUT) if piece]


@dataclass(frozen=True)
class Prompter:
    """What a model needs to turn an example into prompt ids, whatever engine runs it.

    encode      text -> ids with control markers recognised and nothing added (no BOS, no EOS)
    variables   what the template sees besides messages and tools (bos_token, ...)
    """

    template: str
    markers: tuple[str, ...]
    encode: Encode
    syntax: CallSyntax
    variables: Mapping[str, Any] = field(default_factory=dict)

    def ids(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """Token ids [P] of the prompt, ready for the model to write its completion."""
        pieces = render_prompt(self.template, messages, tools, self.markers, **self.variables)
        return encode_pieces(pieces, self.encode)

    def completion_ids(self, said: Sequence[ToolCall] | str) -> list[int]:
        """Token ids [C] of calls in the call syntax, or of words; no stop token behind them.

        Control markers count only where the syntax itself writes them.
        """
        guard = _Guard(self.markers)
        if isinstance(said, str):
            text = guard(said)
        else:
            guarded = [ToolCall(guard(call.name), guard(call.arguments)) for call in said]
            text = self.syntax.render(guarded)
        return encode_pieces([piece for piece in text.split(_CUT) if piece], self.encode)

    def conversation_ids(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """Token ids of a conversation that is over: nobody is asked to go on."""
        pieces = render_prompt(
            self.template,
            messages,
            tools,
            self.markers,
            add_generation_prompt=False,
            **self.variables,
        )
        return encode_pieces(pieces, self.encode)


def encode_pieces(pieces: Sequence[str], encode: Encode) -> list[int]:
    """Token ids [P] of the pieces `render_prompt` returned."""
    return [token for piece in pieces for token in encode(piece)]


class _Guard:
    """Cuts every control marker inside strings that did not come from the template."""

    def __init__(self, markers: Iterable[str]) -> None:
        self.markers = [marker for marker in markers if marker]

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self(key): self(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self(inner) for inner in value]
        return value

    def _text(self, text: str) -> str:
        text = text.replace(_CUT, "")
        for marker in self.markers:
            # A one-character marker cannot be cut inside; it is fenced off and stays a risk of
            # the tokenizer, as it is for every peer.
            text = text.replace(marker, marker[0] + _CUT + marker[1:])
        return text


@lru_cache(maxsize=32)
def _compile(template: str) -> jinja2.Template:
    """The environment transformers documents for chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    if indent is None:
        return dumps(value)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
