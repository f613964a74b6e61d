"""Data sets, one module each with the same names.

    NAME                          what a user types after --from
    ABOUT                         one line for the help
    EVALUATION_ONLY               whether its rows must never be trained on
    recognises(record) -> bool    whether a record looks like one of this data set
    is_companion(path) -> bool    whether a file in its folder is not rows but what rows refer to
    companions(path) -> Any       what rows of this file refer to: tools, answers; None for most
    drafts(record, companions)    the rows in one record, as Drafts, or as Examples where they are
                                  canonical already; raises Problem

A record is one JSON object: a line, an element of an array, or a row of a parquet file. A
conversation gives a row for each assistant turn that calls. Nothing here checks a call against its
schema: `edgetool.data.draft.finish` does, for all of them alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from edgetool.calls.types import Example
from edgetool.data.draft import Draft
from edgetool.errors import UsageError

# In the order in which they are asked whether a record is theirs: the most particular first.
_MODULES = (
    "bfcl",
    "when2call",
    "when2call_train",
    "toucan",
    "nemotron",
    "toolrl",
    "apibank",
    "seal_tools",
    "sgd",
    "snips",
    "glaive",
    "toolace",
    "sharegpt",
    "xlam",
    "canonical",
    "openai",
)


class Importer(Protocol):
    """What every module of this package offers."""

    NAME: str
    ABOUT: str
    EVALUATION_ONLY: bool

    def recognises(self, record: dict[str, Any]) -> bool: ...
    def is_companion(self, path: Path) -> bool: ...
    def companions(self, path: Path) -> Any: ...
    def drafts(self, record: dict[str, Any], companions: Any) -> Iterator[Draft | Example]: ...


@cache
def known() -> dict[str, Importer]:
    """Every importer by its name, in the order of asking."""
    modules: list[Any] = [import_module(f"{__name__}.{name}") for name in _MODULES]
    return {module.NAME: module for module in modules}


def named(name: str) -> Importer:
    """Raises UsageError for a name that no importer has."""
    if name not in known():
        raise UsageError(f"unknown data set '{name}'; known: {', '.join(known())}")
    return known()[name]


def recognise(record: Any) -> str | None:
    """The name of the data set that a record looks like it comes from, or None."""
    if not isinstance(record, dict):
        return None
    return next((name for name, one in known().items() if one.recognises(record)), None)
