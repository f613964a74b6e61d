"""A user's own reward function: `path/to/file.py:function` or `package.module:function`.

Importing runs the code, so a name like this is taken from a configuration or a command line only,
never from rows or a model folder.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetool.calls.tools.python_file import module_from_file
from edgetool.errors import UsageError

BATCH = frozenset({"prompts", "completions", "completion_ids"})


def load(name: str) -> Callable[..., Any]:
    """The function; a file's path counts from the working directory.

    Raises UsageError when the file, the module or the function is not there, when importing fails,
    and when the function has neither of the two signatures.
    """
    place, _, function = name.rpartition(":")
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise UsageError(f"reward '{name}': no file at {place}; the path counts from {Path.cwd()}")
    if is_file:
        module = imported(name, lambda: module_from_file(Path(place), "rewards"))
    else:
        module = imported(name, lambda: importlib.import_module(place))
    if not hasattr(module, function):
        own = [f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__]
        listed = ", ".join(f.__name__ for f in own if inspect.isfunction(f)) or "none"
        raise UsageError(f"reward '{name}': {place} has no '{function}'; its functions: {listed}")
    return checked(name, getattr(module, function))


def imported(name: str, load_it: Callable[[], Any]) -> Any:
    """What `load_it` imports. Raises UsageError when that fails, in whatever way."""
    try:
        return load_it()
    except Exception as error:  # somebody else's code: importing it may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"reward '{name}' cannot be imported: {reason}") from error


def checked(name: str, function: Any) -> Callable[..., Any]:
    """`function`, if it can be a reward. Raises UsageError otherwise."""
    if not callable(function):
        raise UsageError(f"reward '{name}' is {function!r}, which cannot be called")
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"reward '{name}' is async; give a plain function")
    if not takes_batches(function) and not _takes_two(function):
        raise UsageError(
            f"reward '{name}' takes {inspect.signature(function)}; expected (parsed, example), or "
            "(prompts, completions, **columns) as in TRL"
        )
    return function


def takes_batches(function: Callable[..., Any]) -> bool:
    """Whether a function has TRL's signature: it names what TRL passes to all of them."""
    return not BATCH.isdisjoint(inspect.signature(function).parameters)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    return True
