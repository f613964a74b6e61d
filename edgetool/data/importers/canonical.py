"""edgetool's own rows: they come out as they went in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.calls.types import Example
from edgetool.data.rows import example_of

NAME = "edgetool"
ABOUT = "edgetool's own rows: messages, tools, calls"


def recognises(record: dict[str, Any]) -> bool:
    return {"messages", "tools", "calls"} <= set(record)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Example]:
    yield example_of(record, "")
