"""What an evaluation is about, for the first lines of its report."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgetool import catalogue
from edgetool.data.sources import DEMO
from edgetool.errors import EdgetoolError
from edgetool.eval.results import is_url
from edgetool.gguf_header import is_gguf
from edgetool.run_folder import RunFolder


def about(
    target: str, data: str | None, suites: Sequence[str] = (), model: str | None = None
) -> dict[str, Any]:
    """What is known of a target; what is not is left out, since nothing hangs on it.

    model   an endpoint's name for its model
    """
    path = Path(target)
    found: dict[str, Any] = {"task": task(data, suites), "command": typed()}
    if is_url(target):
        found["model"] = model
    elif is_gguf(path):
        found |= {"model": path.name, "parameters": _gguf_parameters(path)} | sizes([path])
    elif (path / "run.json").is_file():
        found |= about_run(RunFolder(path))
    else:
        found |= {"model": path.name, "parameters": _folder_parameters(path)}
    return {name: value for name, value in found.items() if value}


def about_run(run: RunFolder) -> dict[str, Any]:
    """Which model was trained, how, and for how long."""
    model, steps = run.config.model, [row["step"] for row in run.metrics() if "step" in row]
    card = catalogue.find(model)
    count = card.parameters if card else _folder_parameters(Path(run.facts["base"]))
    return {
        "model": model,
        "parameters": count,
        "method": run.verb,
        "steps": max(steps, default=0),
    }


def sizes(files: Sequence[Path]) -> dict[str, Any]:
    """Bytes by the runtime that a GGUF file is."""
    by_runtime = {f"gguf:{f.stem.rsplit('.', 1)[-1]}": f.stat().st_size for f in files}
    return {"size_bytes": by_runtime}


def task(data: str | None, suites: Sequence[str]) -> str:
    """What the rows are called."""
    own = [] if not data else ["the bundled demo rows" if data == DEMO else Path(data).name]
    return ", ".join([*own, *suites])


def typed() -> str:
    """The command line, as it can be typed again; "" where edgetool is used from Python."""
    program, *arguments = sys.argv
    name, folder = Path(program).name, Path(program).parent.name
    if name == "edgetool" or (name, folder) == ("__main__.py", "edgetool"):
        return shlex.join(["edgetool", *arguments])
    return ""


def together(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What several evaluations have in common, under the names of all of them."""
    first, *others = each.values()
    common = {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}
    return {**common, "model": ", ".join(each), "command": typed() or common.get("command", "")}


def _gguf_parameters(path: Path) -> int | None:
    try:
        from edgetool.export.inspect import inspect_gguf

        return inspect_gguf(path).parameters
    except (EdgetoolError, ImportError):  # not installed, or a file that only llama.cpp can read
        return None


def _folder_parameters(folder: Path) -> int | None:
    from edgetool.train.memory.model_shape import Shape

    config = folder / "config.json"
    try:
        return Shape.of(json.loads(config.read_text(encoding="utf-8")), str(folder)).parameters
    except (EdgetoolError, OSError, ValueError):  # a hub id, or sizes that are not known
        return None
