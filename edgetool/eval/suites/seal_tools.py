"""Seal-Tools (arXiv:2405.08355): single, parallel and mixed calls to made-up APIs.

The data name the right APIs and no candidates, so a row is offered those and further ones: of the
same field first, drawn by the row's id. Rows whose calls take the output of another call
("API_call_0") are named and left out: no single turn can answer them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgetool.calls.types import JsonObject
from edgetool.data.draft import Draft
from edgetool.data.importers import seal_tools
from edgetool.eval.suites.base import Loaded, Row, Unscorable, collect
from edgetool.runtime import row_seed

NAME = "seal-tools"
FOLDERS = ("seal-tools", "Seal-Tools")
_TOOLS = "tool.jsonl"
OFFERED = 6  # tools a row is offered, where it does not need more
_CATEGORIES = ("dev", "test_in_domain", "test_out_domain")


def categories(folder: Path) -> tuple[str, ...]:
    if not (folder / _TOOLS).is_file():
        return ()
    return tuple(name for name in _CATEGORIES if (folder / f"{name}.jsonl").is_file())


def load(folder: Path, category: str) -> Loaded:
    rows_file = folder / f"{category}.jsonl"
    apis = seal_tools.companions(rows_file)
    by_field: dict[str, list[str]] = {}
    for name, api in apis.items():
        by_field.setdefault(_field(api), []).append(name)
    lines = rows_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return collect([(row["id"], row) for row in rows], partial(_draft, apis, by_field))


def _field(api: Row) -> str:
    return str(api.get("field", "")).partition("/")[0]


def _draft(
    apis: dict[str, JsonObject], by_field: Mapping[str, Sequence[str]], name: str, row: Row
) -> Draft:
    if not row["calling"]:
        raise Unscorable("no right answer")
    draft = next(seal_tools.drafts(dict(row), apis))
    needed = list(dict.fromkeys(call["name"] for call in draft.calls))
    near = [other for api in needed for other in by_field[_field(apis[api])]]
    offered = _offer(needed, near, list(apis), name)
    return replace(draft, tools=[apis[api] for api in offered])


def _offer(needed: list[str], near: list[str], all_: list[str], row: str) -> list[str]:
    """The needed APIs and others, in an order of the row's own."""

    def draw(names: list[str]) -> list[str]:
        return sorted(dict.fromkeys(names), key=lambda name: row_seed(0, f"{row}/{name}"))

    others = [name for name in draw(near) if name not in needed]
    if len(needed) + len(others) < OFFERED:
        others += [name for name in draw(all_) if name not in needed and name not in others]
    return draw(needed + others[: max(0, OFFERED - len(needed))])
