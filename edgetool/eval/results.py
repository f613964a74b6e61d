"""Evaluations on disk: row results, so that every number of a report can be computed again, and
finished evaluations read back from where `write_report` left them.

results/<model>.<runtime>.<arm>[.<category>].jsonl   one object per row, in the order of the
                                                     examples; further samples of them behind
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgetool.calls.judge.match import Verdict
from edgetool.calls.types import STRICT, Example, ExpectedCall, Tool
from edgetool.errors import DataError, UsageError
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.eval.paired import BASE, TRAINED
from edgetool.files import write_text
from edgetool.gguf_header import is_gguf

# What every line says of its arm, and what holds where it does not.
_HEAD = {"model": None, "runtime": None, "arm": None, "category": "", "peak_mb": None}
REPORT = "report.json"
DEPTHS = (f"*/{REPORT}", f"*/*/{REPORT}", f"*/*/*/{REPORT}")  # --out folders are looked for so deep


def dump_results(folder: Path, arm: ArmResult) -> Path:
    """Write `arm` to its file in `folder` and return the path."""
    head = {name: getattr(arm, name) for name in _HEAD}
    # ASCII: escapes can hold everything a model may write, lone surrogates included.
    lines = [json.dumps({**head, **asdict(row)}) for row in (*arm.results, *arm.more)]
    names = filter(None, (arm.model, arm.runtime, arm.arm, arm.category))
    path = folder / f"{'.'.join(map(_safe, names))}.jsonl"
    write_text(path, "".join(line + "\n" for line in lines))
    return path


def load_results(path: Path) -> ArmResult:
    """Read what `dump_results` wrote. Raises DataError naming file and line."""
    heads: set[tuple[Any, ...]] = set()
    rows: list[RowResult] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            heads.add(tuple(record.pop(name, default) for name, default in _HEAD.items()))
            verdict = Verdict.from_json(record.pop("verdict"))
            rows.append(RowResult(**record, verdict=verdict))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                [f"{path}:{number}: not a row result ({error!r}); evaluate again to replace it"]
            ) from error
    if len(heads) != 1:
        raise DataError([f"{path}: expected the rows of one arm, found {len(heads)} arms"])
    [head] = heads
    if None in head[:3]:
        raise DataError([f"{path}: does not say which model, runtime and arm its rows are of"])
    first = tuple(row for row in rows if row.sample == 0)
    more = tuple(row for row in rows if row.sample > 0)
    return ArmResult(**dict(zip(_HEAD, head, strict=True)), results=first, more=more)


def load_folder(folder: Path) -> list[ArmResult]:
    """Every arm in `folder`, by file name."""
    return [load_results(path) for path in sorted(folder.glob("*.jsonl"))]


def _safe(name: str) -> str:
    """A name as one part of a file name: "gguf:Q8_0" -> "gguf-Q8_0"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


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


def is_url(target: str) -> bool:
    """Whether a target is an endpoint's address."""
    return target.startswith(("http://", "https://"))


def results_folder(target: str) -> Path:
    """Where the evaluation of a target is kept: RUN/eval, model.gguf -> model.eval beside it."""
    if is_url(target):
        return Path(re.sub(r"[^A-Za-z0-9]+", "-", target.partition("//")[2]).strip("-") + ".eval")
    path = Path(target)
    if is_gguf(path):
        return path.with_suffix(".eval")
    return path / "eval" if (path / "run.json").is_file() else Path(f"{path}.eval")


def open_finished(target: str) -> Finished:
    """The one evaluation of a target, as `all_finished` finds it. Raises UsageError for several."""
    found = all_finished(target)
    if len(found) > 1:
        folders = ", ".join(str(each.folder) for each in found)
        raise UsageError(f"{target} holds {len(found)} evaluations; name one of: {folders}")
    return found[0]


def all_finished(target: str) -> list[Finished]:
    """The evaluations of a run, a model, or a folder that holds one or several.

    Looked for where `eval` puts it, then in the folder itself, then in every folder near by that
    was chosen with --out: of several, the newest. Raises UsageError without.
    """
    path = Path(target)
    for folder in (results_folder(target), path):
        if (folder / REPORT).is_file():
            return [_open(_title(path), folder)]
    if inside := sorted(file.parent for file in path.glob(f"*/{REPORT}")):
        return [_open(folder.name, folder) for folder in inside]
    if elsewhere := _elsewhere(target):
        return [_open(_title(path), elsewhere[0])]
    raise UsageError(
        f"{target} has not been evaluated; `edgetool eval {target} --data rows.jsonl` does it"
    )


def _elsewhere(target: str) -> list[Path]:
    """Where --out put evaluations of a target, the newest first: near here, or near the model."""
    near = (Path(), Path(target).parent)
    files = {f.resolve(): f for place in near for depth in DEPTHS for f in place.glob(depth)}
    identity = _identity(target)
    mine = [file for file in files.values() if _target_of(file) == identity]
    return [file.parent for file in sorted(mine, key=lambda f: -f.stat().st_mtime)]


def _target_of(report: Path) -> str | None:
    """What a report is about, as `_identity` gives it."""
    try:
        typed = json.loads(report.read_text(encoding="utf-8"))["config"]["target"]
    except (OSError, ValueError, KeyError, TypeError):  # another program's report.json
        return None
    return _identity(typed) if isinstance(typed, str) else None


def _identity(target: str) -> str:
    return target if is_url(target) else str(Path(target).resolve())


def _open(name: str, folder: Path) -> Finished:
    arms = load_folder(folder / "results")
    if not arms:
        raise DataError([f"{folder}: report.json without results/; evaluate it again"])
    facts = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return Finished(name, folder, _as_reported(arms, facts["rows"]), facts)


def distinct(evaluations: Sequence[Finished]) -> list[Finished]:
    """Evaluations under names of their own: as many folders stand before equal ones as it takes.

    a/model.Q8_0.gguf, b/model.Q8_0.gguf -> "a/model.Q8_0", "b/model.Q8_0"
    """
    names = Counter(each.name for each in evaluations)
    alike = [each for each in evaluations if names[each.name] > 1]
    parts = [_parts(each) for each in alike]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        tails = ["/".join(each[-depth:]) for each in parts]
        if len(set(tails)) == len(tails):
            break
    else:
        tails = [f"{each.name} ({number})" for number, each in enumerate(alike, 1)]
    own = {id(each): tail for each, tail in zip(alike, tails, strict=True)}
    return [replace(each, name=own.get(id(each), each.name)) for each in evaluations]


def _parts(each: Finished) -> tuple[str, ...]:
    """The path of what was evaluated, with its name last."""
    typed = each.facts.get("config", {}).get("target")
    if not isinstance(typed, str) or is_url(typed) or _title(Path(typed)) != each.name:
        return (*each.folder.resolve().parts[:-1], each.name)
    return (*Path(typed).resolve().parts[:-1], each.name)


def relabelled(evaluations: Sequence[Finished]) -> list[ArmResult]:
    """The arms of several evaluations side by side, each under a name of its own.

    Two that hold one model each are taken for base and trained, in this order, when both ran in the
    same runtime or in files of their own: so the 2x2 can be drawn (see `called`). Otherwise a model
    is called after its evaluation, and after itself where that holds several.
    """
    if _is_pair(evaluations):
        pairs = zip((BASE, TRAINED), evaluations, strict=True)
        return [replace(arm, model=name) for name, each in pairs for arm in each.arms]
    return [
        replace(arm, model=each.name if _is_single(each) else f"{each.name}/{arm.model}")
        for each in evaluations
        for arm in each.arms
    ]


def called(evaluations: Sequence[Finished]) -> dict[str, str]:
    """What stands behind "base" and "trained" where `relabelled` gave two files these names."""
    if not _is_pair(evaluations):
        return {}
    return dict(zip((BASE, TRAINED), (each.name for each in evaluations), strict=True))


def _is_pair(evaluations: Sequence[Finished]) -> bool:
    return len(evaluations) == 2 and all(map(_is_single, evaluations))


def _is_single(each: Finished) -> bool:
    return len({arm.model for arm in each.arms}) == 1


def _as_reported(arms: list[ArmResult], rows: list[dict[str, Any]]) -> list[ArmResult]:
    """The arms of a report in its order; what an earlier evaluation left in the folder is not."""
    by_key = {(arm.model, arm.runtime, arm.arm, arm.category): arm for arm in arms}
    keys = [(r["model"], r["runtime"], r["arm"], r.get("category", "")) for r in rows]
    return [by_key[key] for key in keys if key in by_key]


def _title(path: Path) -> str:
    return path.stem if is_gguf(path) else path.name


def _example(row: dict[str, Any]) -> Example:
    """A row as it was written, which a suite's may be without being one to train on."""
    tools = tuple(Tool(**tool["function"]) for tool in row["tools"])
    calls = tuple(_expected(call) for call in row["calls"])
    rules = row.get("rules", STRICT)
    return Example(row["id"], tuple(row["messages"]), tools, calls, rules=rules)


def _expected(call: dict[str, Any]) -> ExpectedCall:
    others = {name: tuple(values) for name, values in call.get("alternatives", {}).items()}
    optional = frozenset(call.get("optional", ()))
    return ExpectedCall(call["name"], call["arguments"], others, optional, call.get("bfcl"))
