"""`edgetool demo --model smollm2`: an adapter that comes with edgetool, on a user's own file.

Nothing is trained and nothing is fetched: base GGUF -> adapter.gguf beside it -> one merged file
-> all three measured on rows that were held out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from edgetool.catalogue import folder
from edgetool.commands.about import sizes, typed
from edgetool.commands.targets import gguf_runtime
from edgetool.data.rows import load_rows
from edgetool.errors import UsageError
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.paired import BASE, TRAINED
from edgetool.export.adapter_gguf import export_adapter
from edgetool.runtime import FREE, Sampling

# models/<name>/adapter -> the file it was trained on, and what fetches that.
BASES: Mapping[str, str] = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf"}
ROWS = "heldout.jsonl"
LONGEST = 96
# In the base's own Q4_1 nearly every weight is rounded back to where it was, and base speaks again.
MERGED = "Q8_0"


def run_adapter_demo(
    name: str, file: Path | None, out: Path, rows: int | None, console: Console
) -> Path:
    """Measure base, base + adapter and the merged file, say how to serve it; returns report.json.

    Raises UsageError for a name that has no adapter here and where the base is not found.
    """
    from edgetool.commands.eval import run_arms
    from edgetool.eval.metrics import summarize
    from edgetool.eval.report.report import write_report
    from edgetool.eval.report.tables import rich_table
    from edgetool.export.export import export_gguf

    started = time.perf_counter()
    base, kept = base_file(name, file), folder() / name
    examples = load_rows(kept / ROWS)[:rows]
    adapter = export_adapter(base, kept / "adapter", out).path
    sampling = Sampling(max_completion_length=LONGEST)
    [merged] = export_gguf(base, kept / "adapter", out, [MERGED], merge_into="base")
    arms: list[ArmResult] = []
    for model, path, lora in (
        (BASE, base, None),
        ("adapter", base, adapter),
        (TRAINED, merged.path, None),
    ):
        with gguf_runtime(path, adapter=lora) as runtime:
            arms += run_arms(runtime, examples, model, [FREE], sampling, console)
    console.print(rich_table([summarize(arm) for arm in arms]))
    report = write_report(
        out,
        arms=arms,
        job_seconds=time.perf_counter() - started,
        metrics=[],
        config={"target": str(base), "adapter": str(adapter)},
        fidelity={},
        examples=examples,
        about={
            "model": base.stem,
            "task": f"{len(examples)} held-out rows",
            "command": typed(),
            **sizes([merged.path]),
        },
    )
    console.print(
        f"report: {report.with_suffix('.html')}\nserve it: edgetool serve {merged.path}",
        markup=False,
    )
    return report


def base_file(name: str, file: Path | None) -> Path:
    """The GGUF file that an adapter goes on. Raises UsageError as above."""
    if name not in BASES:
        raise UsageError(f"--model {name}: adapters here are of {', '.join(BASES)}, beside nano")
    place = folder().parent / "build" / "real_models" / name / BASES[name]
    found = file or place
    if not found.is_file():
        raise UsageError(
            f"{found}: no such file; type `scripts/real_model {name}` in a checkout, or name "
            f"your {BASES[name]} with --gguf"
        )
    return found
