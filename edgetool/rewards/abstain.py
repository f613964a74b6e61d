"""More weight for rows where no call is right."""

from __future__ import annotations

from edgetool.calls.judge.match import judge_example
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward


@reward("abstain")
def abstain(parsed: Parsed, example: Example) -> float:
    """1 for rightly making no call; 0 for anything else, and on every row that expects a call.

    Beside other rewards its weight says how much a call that should not have been made costs: on
    rows that expect one it is the same for the whole group and changes nothing.
    """
    return 0.0 if example.calls else float(judge_example(parsed, example).exact)
