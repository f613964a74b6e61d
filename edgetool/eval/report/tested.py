"""What a stranger asks of a figure: of which model, on what, where, when, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgetool.activity import duration
from edgetool.calls.types import Example
from edgetool.eval.report.summary import plural

Facts = Mapping[str, Any]
METHODS = {"train": "GRPO", "sft": "supervised fine-tuning"}  # by the command of a run

IN_TORCH = {"policy": "the policy in torch", "merged": "merged weights in torch"}


def tested(
    facts: Facts, runtime: str, model: str, rows: int, examples: Sequence[Example]
) -> list[tuple[str, str]]:
    """(name, text) pairs; what a report of an older version does not hold is left out.

    model   as the arms call it, where nothing better is known
    rows    how many there are
    """
    about, machine = facts.get("about") or {}, facts["machine"]
    names = {tool.name for example in examples for tool in example.tools}
    tools = f", {plural(len(names), 'tool')}" if names else ""
    task = f"{about['task']}: " if about.get("task") else ""
    place = [str(machine["cpu"]), plural(machine["cores"], "core")]
    if machine.get("memory_gb"):
        place.append(f"{machine['memory_gb']:g} GB of memory")
    found = [
        ("Model", _with_size(about, model_name(facts, model))),
        ("Runs as", _runs_as(about, runtime)),
        ("Task", f"{task}{plural(rows, 'request')}{tools}"),
        ("Training", _training(about)),
        ("Machine", ", ".join(place)),
        ("Date", str(facts.get("date") or "")),
        ("Took", duration(facts["job_seconds"])),
        ("Command", str(about.get("command") or "")),
    ]
    return [(name, text) for name, text in found if text]


def model_name(facts: Facts, fallback: str) -> str:
    """The model as a reader may know it: of a longer path, which is one machine's, the end."""
    about, config = facts.get("about") or {}, facts["config"]
    name = str(about.get("model") or config.get("model") or config.get("target") or fallback)
    parts = Path(name).parts
    return name if len(parts) <= 2 else "/".join(parts[-2:])


def _with_size(about: Facts, model: str) -> str:
    count = about.get("parameters")
    return f"{model}, {parameters(count)}" if count else model


def parameters(count: int) -> str:
    """1_260_000 -> "1.26 million parameters", as models are spoken of."""
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit} parameters"
    return plural(count, "parameter")


def _runs_as(about: Facts, runtime: str) -> str:
    size = (about.get("size_bytes") or {}).get(runtime)
    kind, _, quantization = runtime.partition(":")
    text = f"GGUF {quantization} in llama.cpp" if kind == "gguf" else IN_TORCH.get(kind, runtime)
    return f"{text}, {size / 1e6:,.1f} MB" if size else text


def _training(about: Facts) -> str:
    method, steps = str(about.get("method") or ""), about.get("steps")
    named = METHODS.get(method, method)
    if not steps:
        return named
    return plural(steps, "step") + (f" of {named}" if named else "")
