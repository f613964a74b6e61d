"""Data sets, one module each with the same names.

    NAME                          what a user types after --from
    ABOUT                         one line for the help
    recognises(record) -> bool    whether a record looks like one of this data set
    drafts(record, companions)    the rows in one record, as Drafts, or as Examples where they are
                                  canonical already; raises Problem

and, where it is otherwise than with most,

    EVALUATION_ONLY               whether its rows must never be trained on
    is_companion(path) -> bool    whether a file in its folder is not rows but what rows refer to
    companions(path) -> Any       what rows of this file refer to: tools, answers

A record is one JSON object: a line, an element of an array, or a row of a parquet file. A
conversation gives a row for each assistant turn that calls. Nothing here checks a call against its
schema: `edgetool.data.draft.finish` does, for all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Importer:
    """A data set's module, with what most of them have where it says nothing itself."""

    NAME: str
    ABOUT: str
    recognises: Callable[[dict[str, Any]], bool]
    drafts: Callable[[dict[str, Any], Any], Iterator[Draft | Example]]
    EVALUATION_ONLY: bool = False
    is_companion: Callable[[Path], bool] = lambda path: False
    companions: Callable[[Path], Any] = lambda path: None


@cache
def known() -> dict[str, Importer]:
    """Every importer by its name, in the order of asking."""
    modules = [vars(import_module(f"{__name__}.{name}")) for name in _MODULES]
    names = [field.name for field in fields(Importer)]
    found = [Importer(**{name: one[name] for name in names if name in one}) for one in modules]
    return {importer.NAME: importer for importer in found}


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
