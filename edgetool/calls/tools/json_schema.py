"""Values against JSON Schemas, in time that grows with their length whatever the pattern.

jsonschema-rs matches patterns with Rust's regex, which never goes back. The few patterns only a
backtracking engine knows (look-around, back-references) get one with a limit; where it is reached
the value counts as not fitting.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from edgetool.errors import UsageError

BACKTRACKS = 1_000


def validator(schema: Any) -> Any:
    """A jsonschema_rs validator for a schema. Raises UsageError for one that is no JSON Schema."""
    return _validator(json.dumps(schema, ensure_ascii=False))


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    import jsonschema_rs

    linear = jsonschema_rs.RegexOptions(size_limit=2**20, dfa_size_limit=2**20)
    limited = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS, size_limit=2**20)
    problem: Exception | None = None
    for options in (linear, limited):
        try:
            return jsonschema_rs.validator_for(schema, pattern_options=options)
        except (ValueError, jsonschema_rs.ValidationError) as error:
            problem = error
    raise UsageError(f"a schema cannot be used to check values: {problem}")


def fits(schema: Any, value: Any) -> bool:
    """Whether a value fits. A pattern that gives up counts as not fitting.

    Raises UsageError for a schema that is none.
    """
    try:
        return bool(validator(schema).is_valid(value))
    except ValueError:  # the engine cannot hold the value (a number beyond it)
        return False
