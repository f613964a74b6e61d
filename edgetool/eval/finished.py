"""Evaluations that are done, read back from where `write_report` left them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.errors import DataError, UsageError
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.pairing import BASE, TRAINED
from edgetool.eval.results import load_folder

REPORT = "report.json"


@dataclass(frozen=True)
class Finished:
    """One finished evaluation.

    name    what the user called it
    facts   what its report.json holds
    """

    name: str
    folder: Path
    arms: list[ArmResult]
    facts: dict[str, Any]

    def examples(self) -> list[Example]:
        """The rows that were evaluated, for showing; none in a report of an older version."""
        path = self.folder / "rows.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [_example(json.loads(line)) for line in lines]


def results_folder(target: str) -> Path:
    """Where the evaluation of a target is kept: RUN/eval, model.gguf -> model.eval beside it."""
    if re.match(r"https?://", target):
        return Path(re.sub(r"[^A-Za-z0-9]+", "-", target.partition("//")[2]).strip("-") + ".eval")
    path = Path(target)
    if path.suffix == ".gguf":
        return path.with_suffix(".eval")
    return path / "eval" if (path / "run.json").is_file() else Path(f"{path}.eval")


def open_finished(target: str) -> Finished:
    """The evaluation of a run, a model or a folder that holds one. Raises UsageError without."""
    path = Path(target)
    for folder in (results_folder(target), path):
        if (folder / REPORT).is_file():
            arms = load_folder(folder / "results")
            if not arms:
                raise DataError([f"{folder}: report.json without results/; evaluate it again"])
            facts = json.loads((folder / REPORT).read_text(encoding="utf-8"))
            return Finished(_name(path), folder, _as_reported(arms, facts["rows"]), facts)
    raise UsageError(
        f"{target} has not been evaluated; `edgetool eval {target} --data rows.jsonl` does it"
    )


def relabelled(evaluations: list[Finished]) -> list[ArmResult]:
    """The arms of several evaluations side by side, each under a name of its own.

    Two that hold one model each are taken for base and trained, in this order, when both ran in the
    same runtime or in files of their own: so the 2x2 can be drawn. Otherwise a model is called
    after its evaluation, and after itself where that holds several.
    """
    alone = [len({arm.model for arm in each.arms}) == 1 for each in evaluations]
    if len(evaluations) == 2 and all(alone):
        pairs = zip((BASE, TRAINED), evaluations, strict=True)
        return [replace(arm, model=name) for name, each in pairs for arm in each.arms]
    return [
        replace(arm, model=each.name if one else f"{each.name}/{arm.model}")
        for each, one in zip(evaluations, alone, strict=True)
        for arm in each.arms
    ]


def _as_reported(arms: list[ArmResult], rows: list[dict[str, Any]]) -> list[ArmResult]:
    """The arms of a report in its order; what an earlier evaluation left in the folder is not."""
    by_key = {(arm.model, arm.runtime, arm.arm, arm.category): arm for arm in arms}
    keys = [(r["model"], r["runtime"], r["arm"], r.get("category", "")) for r in rows]
    return [by_key[key] for key in keys if key in by_key]


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".gguf" else path.name


def _example(row: dict[str, Any]) -> Example:
    tools = tuple(Tool(**tool["function"]) for tool in row["tools"])
    calls = tuple(ExpectedCall(call["name"], call["arguments"]) for call in row["calls"])
    return Example(row["id"], tuple(row["messages"]), tools, calls)
