"""Row results on disk, so that every number of a report can be computed again.

results/<model>.<runtime>.<arm>.jsonl    one object per row, in the order of the examples
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.match import Verdict
from edgetool.errors import DataError
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.files import write_text


def dump_results(folder: Path, arm: ArmResult) -> Path:
    """Write `arm` to its file in `folder` and return the path."""
    head = {"model": arm.model, "runtime": arm.runtime, "arm": arm.arm}
    # ASCII: escapes can hold everything a model may write, lone surrogates included.
    lines = [json.dumps({**head, **asdict(row)}) for row in arm.results]
    path = folder / f"{_safe(arm.model)}.{_safe(arm.runtime)}.{arm.arm}.jsonl"
    write_text(path, "".join(line + "\n" for line in lines))
    return path


def load_results(path: Path) -> ArmResult:
    """Read what `dump_results` wrote. Raises DataError naming file and line."""
    heads: set[tuple[str, str, str]] = set()
    rows: list[RowResult] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            heads.add((record.pop("model"), record.pop("runtime"), record.pop("arm")))
            rows.append(_row(record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                [f"{path}:{number}: not a row result ({error!r}); evaluate again to replace it"]
            ) from error
    if len(heads) != 1:
        raise DataError([f"{path}: expected the rows of one arm, found {len(heads)} arms"])
    [(model, runtime, arm)] = heads
    return ArmResult(model, runtime, arm, tuple(rows))


def _row(record: dict[str, Any]) -> RowResult:
    return RowResult(**{**record, "verdict": Verdict.from_json(record["verdict"])})


def _safe(name: str) -> str:
    """A name as one part of a file name: "gguf:Q8_0" -> "gguf-Q8_0"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"
