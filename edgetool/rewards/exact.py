"""All or nothing."""

from __future__ import annotations

from edgetool.calls.judge.match import judge_example
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward


@reward("exact")
def exact(parsed: Parsed, example: Example) -> float:
    """1 for a clean completion with exactly the expected calls (none, where none is), else 0."""
    return float(judge_example(parsed, example).exact)


@reward("binary")
def binary(parsed: Parsed, example: Example) -> float:
    """1 when the format is right and every call is, else 0, as Tool-N1 has it (arXiv:2505.00024).

    The format is that of the model's own call syntax, which makes it `exact` by the name it has in
    that paper; the paper's asks for thinking in tags as well.
    """
    return exact(parsed, example)
