"""Row results on disk, so that every number of a report can be computed again.

results/<model>.<runtime>.<arm>[.<category>].jsonl   one object per row, in the order of the
                                                     examples; further samples of them behind
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.judge.match import Verdict
from edgetool.errors import DataError
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.files import write_text

# What every line says of its arm, and what holds where it does not.
_HEAD = {"model": None, "runtime": None, "arm": None, "category": "", "peak_mb": None}


def dump_results(folder: Path, arm: ArmResult) -> Path:
    """Write `arm` to its file in `folder` and return the path."""
    head = {name: getattr(arm, name) for name in _HEAD}
    # ASCII: escapes can hold everything a model may write, lone surrogates included.
    lines = [json.dumps({**head, **asdict(row)}) for row in (*arm.results, *arm.more)]
    path = folder / f"{'.'.join(_safe(part) for part in _name(arm))}.jsonl"
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
            rows.append(_row(record))
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


def _row(record: dict[str, Any]) -> RowResult:
    return RowResult(**{**record, "verdict": Verdict.from_json(record["verdict"])})


def _name(arm: ArmResult) -> list[str]:
    return [part for part in (arm.model, arm.runtime, arm.arm, arm.category) if part]


def _safe(name: str) -> str:
    """A name as one part of a file name: "gguf:Q8_0" -> "gguf-Q8_0"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"
