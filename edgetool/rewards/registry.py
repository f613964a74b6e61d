"""Reward functions by name.

A reward function scores one completion: it takes what was parsed and the row, and returns a score
in [0, 1]. To add one, write it in a module of this package, decorate it, and import the module in
`_load`; or decorate a function of your own before calling `train`.

    @reward("brevity")
    def brevity(parsed: Parsed, example: Example) -> float:
        ...
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module

from edgetool.calls.formats.base import Parsed
from edgetool.calls.types import Example
from edgetool.errors import UsageError

RewardFunction = Callable[[Parsed, Example], float]

_FUNCTIONS: dict[str, RewardFunction] = {}
_MODULES = ("edgetool.rewards.abstain", "edgetool.rewards.exact", "edgetool.rewards.paper")


def reward(name: str) -> Callable[[RewardFunction], RewardFunction]:
    """Register a reward function under the name a configuration uses."""

    def register(function: RewardFunction) -> RewardFunction:
        _FUNCTIONS[name] = function
        return function

    return register


def get(name: str) -> RewardFunction:
    _load()
    if name not in _FUNCTIONS:
        near = difflib.get_close_matches(name, _FUNCTIONS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"unknown reward '{name}'{hint} Known: {', '.join(names())}")
    return _FUNCTIONS[name]


def names() -> tuple[str, ...]:
    _load()
    return tuple(sorted(_FUNCTIONS))


def _load() -> None:
    for module in _MODULES:
        import_module(module)
