"""What a suite gives, and how rows become Examples: by the importers' own reading.

A row that training could read is read the same way here, so that a data set's dialect is spelled
out in one place (`data/importers`). Values written as text are read as what the schema declares;
one that still does not fit stays as it was published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgetool.calls.types import Example
from edgetool.data.check import Problem
from edgetool.data.draft import Draft, finish

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """The rows of one category.

    skipped   "id: reason" for every row that cannot be scored
    """

    examples: tuple[Example, ...]
    skipped: tuple[str, ...] = ()


class Unscorable(Exception):
    """A row without a right answer, or one that is no row of the suite."""


def collect(rows: Iterable[tuple[str, Row]], convert: Callable[[str, Row], Draft]) -> Loaded:
    """Convert rows by id; one that is unscorable or broken is skipped and named."""
    examples, skipped = [], []
    for name, row in rows:
        try:
            example = finish(convert(name, row), coerce=True, fit=False)
            examples.append(replace(example, id=name))
        except (Unscorable, Problem) as reason:
            skipped.append(f"{name}: {reason}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            skipped.append(f"{name}: cannot be read ({error!r})")
    return Loaded(tuple(examples), tuple(skipped))
