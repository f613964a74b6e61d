"""Seal-Tools (arXiv:2405.08355): single, parallel and mixed calls to made-up APIs.

The data name the right APIs and no candidates, so a row is offered those and further ones: of the
same field first, drawn by the row's id. Rows whose calls take the output of another call
("API_call_0") are named and left out: no single turn can answer them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edgetool.calls.runtime import row_seed
from edgetool.calls.types import Example, Tool
from edgetool.eval.suites.base import Loaded, Row, Unscorable, collect, expected, typed_tool

NAME = "seal-tools"
FOLDERS = ("seal-tools", "Seal-Tools")
TOOLS = "tool.jsonl"
OFFERED = 6  # tools a row is offered, where it does not need more
_CATEGORIES = ("dev", "test_in_domain", "test_out_domain")


def categories(folder: Path) -> tuple[str, ...]:
    if not (folder / TOOLS).is_file():
        return ()
    return tuple(name for name in _CATEGORIES if (folder / f"{name}.jsonl").is_file())


def load(folder: Path, category: str) -> Loaded:
    apis = {api["api_name"]: api for api in _lines(folder / TOOLS)}
    by_field: dict[str, list[str]] = {}
    for name, api in apis.items():
        by_field.setdefault(_field(api), []).append(name)
    rows = [(row["id"], row) for row in _lines(folder / f"{category}.jsonl")]
    return collect(rows, partial(_example, apis, by_field))


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _field(api: Row) -> str:
    return str(api.get("field", "")).partition("/")[0]


def _example(
    apis: Mapping[str, Row], by_field: Mapping[str, Sequence[str]], name: str, row: Row
) -> Example:
    needed = list(dict.fromkeys(call["api"] for call in row["calling"]))
    if not needed:
        raise Unscorable("no right answer")
    unknown = [api for api in needed if api not in apis]
    if unknown:
        raise Unscorable(f"the right answer calls {unknown[0]}, which has no description")
    if any("API_call_" in json.dumps(call["parameters"]) for call in row["calling"]):
        raise Unscorable("a call takes the output of another one")
    near = [other for api in needed for other in by_field[_field(apis[api])]]
    offered = _offer(needed, near, list(apis), name)
    tools = tuple(_tool(apis[api]) for api in offered)
    calls = tuple(expected(tools, call["api"], call["parameters"]) for call in row["calling"])
    return Example(name, ({"role": "user", "content": row["query"]},), tools, calls)


def _offer(needed: list[str], near: list[str], all_: list[str], row: str) -> list[str]:
    """The needed APIs and others, in an order of the row's own."""

    def draw(names: list[str]) -> list[str]:
        return sorted(dict.fromkeys(names), key=lambda name: row_seed(0, f"{row}/{name}"))

    others = [name for name in draw(near) if name not in needed]
    if len(needed) + len(others) < OFFERED:
        others += [name for name in draw(all_) if name not in needed and name not in others]
    return draw(needed + others[: max(0, OFFERED - len(needed))])


def _tool(api: Row) -> Tool:
    required = [name for name in api.get("required", ()) if name in api["parameters"]]
    return typed_tool(api["api_name"], api["api_description"], api["parameters"], required)
