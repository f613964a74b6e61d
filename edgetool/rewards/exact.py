"""All or nothing."""

from __future__ import annotations

from edgetool.calls.formats.base import Parsed
from edgetool.calls.match import judge_example
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward


@reward("exact")
def exact(parsed: Parsed, example: Example) -> float:
    """1 for a clean completion with exactly the expected calls (none, where none is), else 0."""
    return float(judge_example(parsed, example).exact)
