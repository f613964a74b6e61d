"""Call syntaxes by name. To add one: write a module like `hermes.py` and list it in `_SYNTAXES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Protocol, cast

from edgetool.calls.syntaxes import (
    hammer,
    hermes,
    json_list,
    lfm2,
    llama3_json,
    mistral,
    mistral_args,
    pythonic,
    qwen3_coder,
)
from edgetool.calls.syntaxes.base import CUT, PROBLEMS, Parsed
from edgetool.calls.syntaxes.gemma import FUNCTIONGEMMA, GEMMA4, GemmaCalls
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import UsageError

__all__ = [
    "PROBLEMS",
    "SYNTAX_KEY",
    "CallSyntax",
    "Parsed",
    "describe",
    "detect",
    "get",
    "names",
    "read",
    "taught",
]


class CallSyntax(Protocol):
    """The names every call syntax has; see `base` for their meaning."""

    NAME: str
    START: str
    END: str

    def render(self, calls: Sequence[ToolCall]) -> str: ...
    def parse(self, text: str, tools: Sequence[Tool] = ()) -> Parsed: ...
    def grammar(self, tools: Sequence[Tool], *, required: bool = False) -> str: ...
    def detect(self, template: str) -> bool: ...


# The metadata of a GGUF file that names the syntax its model was trained in, where that is not the
# one its chat template teaches.
SYNTAX_KEY = "edgetool.call_syntax"

_SYNTAXES: tuple[ModuleType | GemmaCalls, ...] = (
    hermes,
    qwen3_coder,
    llama3_json,
    pythonic,
    lfm2,
    FUNCTIONGEMMA,
    GEMMA4,
    mistral,
    mistral_args,
    hammer,
    json_list,
)
_FALLBACK = json_list


def names() -> tuple[str, ...]:
    return tuple(module.NAME for module in _SYNTAXES)


def get(name: str) -> CallSyntax:
    for module in _SYNTAXES:
        if name == module.NAME:
            return cast(CallSyntax, module)
    raise UsageError(f"unknown call syntax '{name}'; known: {', '.join(names())}")


def read(syntax: CallSyntax, text: str, tools: Sequence[Tool] = (), *, finished: bool) -> Parsed:
    """Parse a completion, as training and evaluation both do.

    tools      the tools on offer, for syntaxes that write text without quotes
    finished   ended by a stop token. One cut at max_completion_length is never clean, whatever its
               text looks like so far: prose might have gone on to a call, a call to another.
    """
    parsed = syntax.parse(text, tools)
    return parsed if finished else replace(parsed, problem=CUT)


def detect(template: str) -> CallSyntax:
    """The syntax a chat template teaches; plain JSON when it teaches none."""
    return taught(template) or cast(CallSyntax, _FALLBACK)


def taught(template: str) -> CallSyntax | None:
    """The syntax a chat template teaches, or None."""
    for module in _SYNTAXES:
        if module.detect(template):
            return cast(CallSyntax, module)
    return None


def describe(syntax: CallSyntax, template: str) -> str:
    """What a user should know of the syntax in use: "hermes, as its chat template teaches"."""
    own = taught(template)
    if own is None:
        return f"{syntax.NAME}; the chat template teaches none (set call_syntax to choose another)"
    if own.NAME == syntax.NAME:
        return f"{syntax.NAME}, as the chat template teaches"
    return f"{syntax.NAME}, though the chat template teaches {own.NAME}"
