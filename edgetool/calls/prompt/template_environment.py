"""The Jinja environment of chat templates: transformers' own, name by name.

A prompt has to be the one that transformers, TRL and vLLM render, so what a template may say here
is what it may say there: the `generation` tag, `break` and `continue`, the options of `tojson`,
`strftime_now`, `raise_exception`, `dict` and a `namespace` without private names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from edgetool.calls.prompt.markers import CUT


def environment() -> jinja2.Environment:
    """An environment that renders a chat template as transformers does."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals |= {
        "raise_exception": _raise,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return made


class GenerationTag(Extension):
    """{% generation %} ... {% endgeneration %}: what stands between is written.

    Training with transformers takes the loss there; here a prompt and a completion are two things.
    """

    tags = {"generation"}  # noqa: RUF012 - Jinja's own name and type

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A call block, as transformers has it: what is set inside is not known outside.
        return nodes.CallBlock(self.call_method("_write"), [], [], body).set_lineno(line)

    def _write(self, caller: Callable[[], str]) -> str:
        return caller()


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as templates write it: unlike Jinja's own filter, nothing is escaped for HTML."""
    if sort_keys:
        value = _sorted(value)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)
    return _ESCAPED_CUT.sub(lambda found: found[1] + CUT, text) if ensure_ascii else text


# A cut that ensure_ascii wrote as an escape; behind an odd backslash it is somebody's own text.
_ESCAPED_CUT = re.compile(r"((?<!\\)(?:\\\\)*)\\ufdd0")


def _sorted(value: Any) -> Any:
    """Keys in order, as if there were no cuts in them (see `markers`)."""
    if isinstance(value, dict):
        keys = sorted(value, key=_without_cut)
        return {key: _sorted(value[key]) for key in keys}
    return [_sorted(entry) for entry in value] if isinstance(value, list | tuple) else value


def _without_cut(key: Any) -> Any:
    return key.replace(CUT, "") if isinstance(key, str) else key


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class _Dict:
    """`dict` for templates, without the class behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _Namespace(Namespace):
    """Jinja's namespace, which refuses names that lead into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # Jinja's own signature, so that `namespace(self=...)` works
        self, rest = args[0], args[1:]
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _require_public(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _require_public(name)
        super().__setitem__(name, value)


def _require_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with '_', such as {name!r}")
