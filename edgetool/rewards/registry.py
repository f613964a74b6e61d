"""Reward functions by name: edgetool's own, a package's, or a user's.

A reward function has one of two signatures, and its parameters say which:

    (parsed: Parsed, example: Example) -> float
        scores one completion by what was parsed and its row
    (prompts, completions, **columns) -> list[float | None]
        scores many at once, as TRL's GRPOTrainer calls it; see batch.py. None for a completion that
        the function has nothing to say about: its other scores alone count

Scores are best kept within [0, 1], so that weights mean what they say.

To add one here, write it in a module of this package, decorate it, and list the module in
`_MODULES`.

    @reward("brevity")
    def brevity(parsed: Parsed, example: Example) -> float:
        ...

A package offers one with an entry point of the group `edgetool.rewards`; a user names a Python file
or a module in the configuration, `rewards.py:brevity` or `mypackage:brevity`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgetool.errors import UsageError
from edgetool.rewards import named

RewardFunction = Callable[..., Any]

ENTRY_POINTS = "edgetool.rewards"

_FUNCTIONS: dict[str, RewardFunction] = {}
_MODULES = (
    "edgetool.rewards.abstain",
    "edgetool.rewards.exact",
    "edgetool.rewards.length",
    "edgetool.rewards.no_extra_text",
    "edgetool.rewards.paper",
    "edgetool.rewards.schema_valid",
    "edgetool.rewards.toolrl",
)


def reward(name: str) -> Callable[[RewardFunction], RewardFunction]:
    """Register a reward function under the name a configuration uses."""

    def register(function: RewardFunction) -> RewardFunction:
        _FUNCTIONS[name] = function
        return function

    return register


def get(name: str) -> RewardFunction:
    """The function of that name. `path.py:function` and `module:function` run that file or module.

    Raises UsageError when there is none, or when importing it fails.
    """
    _load()
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    if ":" in name:
        return named.load(name)
    offered = _offered()
    if name in offered:
        return named.checked(name, named.imported(name, offered[name].load))
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean '{near[0]}'" if near else ""
    raise UsageError(
        f"unknown reward '{name}'{hint}; known: {', '.join(names())}; your own: file.py:function "
        "or package:function"
    )


def names() -> tuple[str, ...]:
    """All that can be named without a path: edgetool's own and those of installed packages."""
    _load()
    return tuple(sorted({*_FUNCTIONS, *_offered()}))


def origin(name: str) -> str:
    """The package that offers a name."""
    _load()
    if name in _FUNCTIONS:
        return _FUNCTIONS[name].__module__.partition(".")[0]
    found = _offered().get(name)
    return found.value if found else name


def _offered() -> dict[str, EntryPoint]:
    """What installed packages offer; their code runs only when it is asked for by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load() -> None:
    for module in _MODULES:
        import_module(module)
