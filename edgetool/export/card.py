"""README.md of an exported model: Hugging Face's metadata on top, the receipt below.

The keys are those of "Model card metadata" in the hub's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.calls.prompt.kit_template import FAMILIES
from edgetool.files import write_text

FILE = "README.md"
TAGS = ("gguf", "llama.cpp", "tool-calling", "function-calling", "edgetool")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    base       the base model: a hub id, or a folder's name
    license    SPDX id
    rows       what it was trained on: a hub id or a file's name
    method     how it was trained: "grpo", "sft"; None for a base model itself
    syntax     its call syntax
    """

    name: str
    base: str
    license: str | None
    rows: str | None
    method: str | None
    syntax: str


def write_card(out: Path, origin: Origin, receipt: Mapping[str, Any]) -> Path:
    """Writes `out/README.md` and returns its path."""
    path = out / FILE
    write_text(path, f"---\n{_metadata(origin, receipt)}---\n\n{_body(origin, receipt)}")
    return path


def _metadata(origin: Origin, receipt: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        model_name=origin.name,
        license=origin.license,
        base_model=_hub_id(origin.base),
        datasets=[found] if (found := _hub_id(origin.rows)) else None,
        tags=[*TAGS, *([origin.method] if origin.method else [])],
        pipeline_tag="text-generation",
        library_name="gguf",
        base_model_relation="quantized" if _hub_id(origin.base) else None,
        eval_results=_results(receipt) or None,
    )
    return str(data.to_yaml()) + "\n"


def _hub_id(name: str | None) -> str | None:
    """A name the hub would understand; a file's or a folder's would be refused there."""
    return name if name and _HUB_ID.fullmatch(name) and not name.endswith(".jsonl") else None


def _results(receipt: Mapping[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="json",
            dataset_name=f"{_rows_of(step, receipt)} rows",
            # the hub tells data sets apart by this, and not by their names
            dataset_config=_rows_of(step, receipt) if "held_out" in step else None,
            metric_type="exact_match",
            metric_name=f"exact match of calls, {step['step']}",
            metric_value=round(100 * step["exact_match"], 2),
        )
        for step in receipt.get("measured", [])
        if step["step"] in _quants(receipt)
    ]


def _rows_of(step: Mapping[str, Any], receipt: Mapping[str, Any]) -> str:
    """The rows a step was measured on; those of an earlier export may be others."""
    held_out = step.get("held_out") or receipt.get("held_out") or {}
    source = held_out.get("source")
    return Path(source).name if source else "held-out"


def _quants(receipt: Mapping[str, Any]) -> list[str]:
    """The quantizations that were not rejected."""
    return [file["quant"] for file in receipt["files"] if not file.get("rejected")]


def _body(origin: Origin, receipt: Mapping[str, Any]) -> str:
    trained = f", trained with {origin.method.upper()}" if origin.method else ""
    rows = f" on {origin.rows}" if origin.rows and origin.method else ""
    return (
        f"# {origin.name}\n\n{origin.base}{trained}{rows}, to call tools. "
        f"Call syntax: `{origin.syntax}`.{_template(receipt)}\n\n"
        f"{_files(receipt)}\n{_measured(receipt)}\n"
        "Made with edgetool; `receipt.json` says what went in and what came out.\n"
    )


def _template(receipt: Mapping[str, Any]) -> str:
    """Whose chat template the files have, where it is not the base model's."""
    name = receipt.get("chat_template")
    if name not in FAMILIES:
        return ""
    return (
        f" Chat template: edgetool's own for {FAMILIES[name].shown} turns, which shows the tools."
    )


def _files(receipt: Mapping[str, Any]) -> str:
    rows = [
        (f"`{file['path']}`", file["quant"], f"{file['size'] / 1e6:,.1f}", f"`{file['sha256']}`")
        for file in receipt["files"] if not file.get("rejected")
    ]  # fmt: skip
    return _table(("file", "quantization", "MB", "sha256"), rows)


def _measured(receipt: Mapping[str, Any]) -> str:
    steps = receipt.get("measured", [])
    if not steps:
        why = receipt.get("held_out", {}).get("why", "no held-out rows")
        return f"Not measured: {why}.\n"
    tables: dict[tuple[str, int], list[Any]] = {}
    for step in steps:
        tables.setdefault((_rows_of(step, receipt), step["rows"]), []).append(_cells(step))
    head = ("step", "exact match [95 % CI]", "same calls", "same prompt ids", "KL per token")
    several = len(tables) > 1
    return "\n".join(
        f"{count} held-out rows{f' of {name}' if several else ''}, greedy:\n\n{_table(head, rows)}"
        for (name, count), rows in tables.items()
    )


def _cells(step: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = step["exact_match_ci95"]
    kl = step["kl_mean"]
    return (
        step["step"],
        f"{100 * step['exact_match']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]",
        f"{100 * step['call_agreement']:.1f} %",
        f"{100 * step['prompt_parity']:.1f} %",
        "–" if kl is None else f"{kl:.5f}",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
