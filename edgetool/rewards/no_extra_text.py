"""Say what was asked for and nothing beside it."""

from __future__ import annotations

from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward


@reward("no_extra_text")
def no_extra_text(parsed: Parsed, example: Example) -> float:
    """1 for nothing but calls, right or wrong; 1 for nothing but words where no call is expected.

    0 for text beside a call or in place of one, and for what cannot be read.
    """
    clean = parsed.problem is None
    return float(clean and bool(parsed.calls or not example.calls))
