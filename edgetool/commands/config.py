"""All keys of a configuration: defaults, types, what each does."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgetool.commands.common import JsonOption, console, group
from edgetool.config import Config, key_hint
from edgetool.errors import UsageError
from edgetool.train.settings import CHOICES, RewardSettings

REQUIRED = "required"
_FIRST = re.compile(r"; |\. | \(")  # behind what is said of a key in the list of all
_ENTRY = re.compile(r"(\w+)\s{2,}(\S.*)")

app = group()


@app.command(help=__doc__)
def config(
    key: Annotated[
        str | None, typer.Argument(help="Only this key or section, such as grpo.beta or lora.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    run_config(key, console(), as_json=json_)


@dataclass(frozen=True)
class Key:
    """One key of a configuration.

    name      with its section: grpo.beta
    kind      its type in words, and what it may be where that is a list
    default   as YAML has it, or REQUIRED
    about     what it does
    """

    name: str
    kind: str
    default: str
    about: str


def all_keys() -> list[Key]:
    """In the order of the settings classes."""
    return [*_keys(Config, "")]


def run_config(key: str | None, console: Console, *, as_json: bool = False) -> None:
    """List all keys, those of a section, or one whole. Raises UsageError for one that is not."""
    found = [k for k in all_keys() if key is None or _means(k.name, key)]
    if not found:
        assert key is not None
        prefix, _, name = key.rpartition(".")
        known = [k.name.removeprefix(f"{prefix}.") for k in all_keys() if _in(k.name, prefix)]
        hint = key_hint(name, f"{prefix}." if prefix else "", known)
        raise UsageError(f"no key '{key}'; {hint}")
    if as_json:
        print(json.dumps([dataclasses.asdict(k) for k in found], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("key", "default", "type"):
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    table.add_column("what it does", ratio=1, min_width=30)
    for k in found:
        about = k.about if key else _FIRST.split(k.about)[0]
        table.add_row(k.name, Text(k.default), Text(k.kind), Text(about))
    console.print(table)
    if key is None:
        console.print(
            "`edgetool config KEY` says more of one. In a file: `edgetool init`; on the command "
            "line: --set grpo.max_steps=50"
        )


def _means(name: str, asked: str) -> bool:
    return name == asked or name.startswith(f"{asked}.") or name.endswith(f".{asked}")


def _in(name: str, section: str) -> bool:
    return name.startswith(f"{section}.") if section else "." not in name


def _keys(kind: Any, prefix: str) -> Iterator[Key]:
    hints, descriptions = get_type_hints(kind), described(kind)
    for field in dataclasses.fields(kind):
        type_ = hints[field.name]
        if dataclasses.is_dataclass(type_):
            yield from _keys(type_, f"{prefix}{field.name}.")
            continue
        yield Key(
            prefix + field.name,
            _in_words(field.name, type_),
            _default(field),
            descriptions[field.name],
        )
        if field.name == "rewards":
            yield from _keys(RewardSettings, "rewards.NAME.")


def described(kind: Any) -> dict[str, str]:
    """What the docstrings of a settings class and of those it extends say of each field."""
    found: dict[str, str] = {}
    names = {field.name for field in dataclasses.fields(kind)}
    for cls in reversed(kind.__mro__):
        entry: str | None = None
        for line in (inspect.cleandoc(cls.__doc__ or "")).splitlines():
            match = _ENTRY.match(line)
            if match and match[1] in names:
                entry, found[match[1]] = match[1], match[2]
            elif entry and line.startswith(" "):
                found[entry] += f" {line.strip()}"
            else:
                entry = None
    return {name: about.replace("None:", "null:") for name, about in found.items()}


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return REQUIRED
    if field.name == "rewards":
        return "{" + ", ".join(f"{name}: {reward.weight}" for name, reward in value.items()) + "}"
    return json.dumps(value).replace('"', "")


def _in_words(name: str, type_: Any) -> str:
    if name in CHOICES:
        return " | ".join(CHOICES[name])
    if name == "rewards":
        return "name: weight"
    parts = [part for part in get_args(type_) if part is not NoneType]
    if get_origin(type_) is Literal:
        return " | ".join(parts)
    if get_origin(type_) in (tuple, Mapping) or not parts:
        return _WORDS.get(get_origin(type_) or type_, str(getattr(type_, "__name__", type_)))
    return " or ".join(_in_words("", part) for part in parts)


_WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true | false",
    str: "text",
    tuple: "list",
    Mapping: "keys and values",
}
