"""Call syntaxes by name. To add one: write a module like `hermes.py` and list it in `_MODULES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Protocol, cast

from edgetool.calls.formats import hermes, json_list
from edgetool.calls.formats.base import CUT, PROBLEMS, Parsed
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import UsageError

__all__ = ["PROBLEMS", "SYNTAX_KEY", "CallSyntax", "Parsed", "detect", "get", "names", "read"]


class CallSyntax(Protocol):
    """The names every call syntax module has; see `base` for their meaning."""

    NAME: str
    START: str
    END: str

    def render(self, calls: Sequence[ToolCall]) -> str: ...
    def parse(self, text: str) -> Parsed: ...
    def grammar(self, tools: Sequence[Tool], *, required: bool = False) -> str: ...
    def detect(self, template: str) -> bool: ...


# The metadata of a GGUF file that names the syntax its model was trained in, where that is not the
# one its chat template teaches.
SYNTAX_KEY = "edgetool.call_syntax"

_MODULES: tuple[ModuleType, ...] = (hermes, json_list)
_FALLBACK = json_list


def names() -> tuple[str, ...]:
    return tuple(module.NAME for module in _MODULES)


def get(name: str) -> CallSyntax:
    for module in _MODULES:
        if name == module.NAME:
            return cast(CallSyntax, module)
    raise UsageError(f"unknown call syntax '{name}'; known: {', '.join(names())}")


def read(syntax: CallSyntax, text: str, *, finished: bool) -> Parsed:
    """Parse a completion, as training and evaluation both do.

    finished   ended by a stop token. One cut at max_completion_length is never clean, whatever its
               text looks like so far: prose might have gone on to a call, a call to another.
    """
    parsed = syntax.parse(text)
    return parsed if finished else replace(parsed, problem=CUT)


def detect(template: str) -> CallSyntax:
    """The syntax a chat template teaches; plain JSON when it teaches none."""
    for module in _MODULES:
        if module.detect(template):
            return cast(CallSyntax, module)
    return cast(CallSyntax, _FALLBACK)
