"""What a grammar engine does not take of a schema, and where; without the grammar it prints."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgetool.calls.json_text import dumps
from edgetool.calls.schema.parts import keywords_alone
from edgetool.calls.types import JsonObject

_LISTING = "\n   1 | "
_PREFIXES = re.compile(r"^at \d+\(\d+\): |failed to compile JSON schema: ")
_LONGEST = 200


def complaint(
    schema: JsonObject, error: str, problem_of: Callable[[str], str | None], path: str
) -> str:
    """Which keyword is at fault and why.

    error        what the engine said of the whole
    problem_of   what it says of another grammar; None where it takes it
    path         what the schema is called
    """
    for part in keywords_alone(schema, path):
        problem = problem_of(f"start: %json {dumps(part.schema)}")
        if problem is not None:
            about = f"{part.path}: '{part.keyword}' {dumps(part.schema[part.keyword])}"
            return f"{about} cannot be held by a grammar: {reason(problem)}"
    return f"{path} cannot be held by a grammar: {reason(error)}; simplify it"


def reason(error: str) -> str:
    """The line of an engine's error that says why."""
    message = _PREFIXES.sub("", error.split(_LISTING)[0])
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^")]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (named or lines or ["no reason was given"])[0][:_LONGEST]
