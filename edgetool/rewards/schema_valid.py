"""Calls that their tool would accept, whether they are the right ones or not."""

from __future__ import annotations

from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.tools.validation import call_fits
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward


@reward("schema_valid")
def schema_valid(parsed: Parsed, example: Example) -> float:
    """Share of the calls made that name a tool on offer and fit its JSON Schema.

    0 for a completion that is not clean. Without a call: 1 where none is expected, else 0.
    """
    if parsed.problem is not None:
        return 0.0
    if not parsed.calls:
        return float(not example.calls)
    return sum(call_fits(call, example.tools) for call in parsed.calls) / len(parsed.calls)
