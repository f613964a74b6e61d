"""Suites by name. To add one: write a module like `when2call.py` and list it in `_MODULES`.

A suite is a module in this package with these names:

    NAME                                what a user types: `--suite NAME` or `NAME:category,...`
    FOLDERS                             names its folder may have inside --suite-root
    categories(folder) -> (str, ...)    those the folder holds; none: it is not the suite's folder
    load(folder, category) -> Loaded    the rows of one, and those that cannot be scored

Suites are for evaluation: never train on them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from edgetool.errors import UsageError
from edgetool.eval.suites import api_bank, bfcl, seal_tools, sgd_x, when2call
from edgetool.eval.suites.base import Loaded

__all__ = ["Loaded", "Suite", "load", "names"]

ROOT_VARIABLE = "EDGETOOL_SUITES"


class Suite(Protocol):
    """The names every suite module has."""

    NAME: str
    FOLDERS: tuple[str, ...]

    def categories(self, folder: Path) -> tuple[str, ...]: ...
    def load(self, folder: Path, category: str) -> Loaded: ...


_MODULES: tuple[ModuleType, ...] = (bfcl, seal_tools, when2call, api_bank, sgd_x)


def names() -> tuple[str, ...]:
    return tuple(module.NAME for module in _MODULES)


def load(spec: str, root: Path | None) -> dict[str, Loaded]:
    """Rows by "suite:category" for what a user typed after --suite.

    spec   "bfcl:simple_python,multiple", or a suite's name for all its categories
    root   the folder with the suite's files, or with its folder; None looks at an installed
           bfcl-eval only

    Raises UsageError for an unknown suite or category, naming the known ones, and for a suite whose
    files are not found.
    """
    name, _, listed = spec.partition(":")
    suite = _get(name)
    folder = _locate(suite, root)
    known = suite.categories(folder)
    chosen = [part for part in listed.split(",") if part] or list(known)
    unknown = [category for category in chosen if category not in known]
    if unknown:
        raise UsageError(
            f"no {name} category '{unknown[0]}' in {folder}; known there: {', '.join(known)}"
        )
    return {f"{name}:{category}": suite.load(folder, category) for category in chosen}


def _get(name: str) -> Suite:
    for module in _MODULES:
        if name == module.NAME:
            return cast(Suite, module)
    raise UsageError(f"unknown suite '{name}'; known: {', '.join(names())}")


def _locate(suite: Suite, root: Path | None) -> Path:
    places = [root, *(root / folder for folder in suite.FOLDERS)] if root else []
    if suite is cast(Suite, bfcl):
        places += _installed_bfcl()
    for place in places:
        if place.is_dir() and suite.categories(place):
            return place
    looked = ", ".join(map(str, places)) or "nowhere"
    raise UsageError(
        f"no files of suite '{suite.NAME}' (looked in: {looked}); name the folder that holds them "
        f"with --suite-root or {ROOT_VARIABLE}"
        + ("; `pip install bfcl-eval` brings them too" if suite is cast(Suite, bfcl) else "")
    )


def _installed_bfcl() -> list[Path]:
    """Where the package bfcl-eval keeps its data, without importing it."""
    found = importlib.util.find_spec("bfcl_eval")
    places = found.submodule_search_locations if found else None
    return [Path(place) / "data" for place in places or []]
