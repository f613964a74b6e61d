"""The reward of arXiv:2509.04518, for small models that learn to call tools."""

from __future__ import annotations

from edgetool.calls.judge.match import judge_example
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example
from edgetool.rewards.registry import reward

VALID = 0.125
NAMES = 0.375
ARGUMENTS = 0.5


@reward("paper")
def paper(parsed: Parsed, example: Example) -> float:
    """Graded credit for one completion, in [0, 1].

    0                           empty, invalid or surrounded JSON; no call where one is expected
    0.125                       valid JSON
    + 0.375 * names             expected calls that have a partner of the same name, as a share
    + 0.5 * arguments           mean share of right arguments over the expected calls
    names and arguments are scaled by expected / predicted when more calls are made than expected.
    No call expected: 1 for none, 0 otherwise.
    """
    verdict = judge_example(parsed, example)
    if not verdict.valid:
        return 0.0
    if not example.calls:
        return 1.0 if verdict.predicted == 0 else 0.0
    if verdict.predicted == 0:
        return 0.0
    names = verdict.matched_names / verdict.expected
    arguments = verdict.argument_score / verdict.expected
    surplus = min(1.0, verdict.expected / verdict.predicted)
    return VALID + surplus * (NAMES * names + ARGUMENTS * arguments)
