"""What the end of a run says: from where to where it went, what it left and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from edgetool.activity import duration
from edgetool.run_folder import SFT, RunFolder
from edgetool.train.loop import TrainResult

# What each command is after, by the names of metrics.jsonl, and how it is written.
SHOWN = {
    SFT: {"loss": ("loss", "{:.4f}"), "mean_token_accuracy": ("token accuracy", "{:.1%}")},
    "train": {
        "reward": ("reward", "{:.3f}"),
        "exact": ("exact", "{:.0%}"),
        "right_tool": ("right tool", "{:.0%}"),
    },
}
# A step's reward hangs on the rows it drew: so many at either end are averaged, at most a third.
AVERAGED = 10


def say_how_it_ended(result: TrainResult, run: RunFolder, console: Console) -> None:
    """Lines for a run that is done, or that was stopped and saved."""

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    rows = run.metrics()
    if result.interrupted:
        say(f"stopped after step {result.steps} and saved; go on with: {run.resume_command}")
        return
    spent = duration(sum(row["step_time"] for row in rows)) if _every_step(rows, result) else ""
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'}"
    say(f"trained {steps}{f' in {spent}' if spent else ''}{_course(rows, run.verb)}")
    say(f"written: {run.path}/adapter, with metrics.jsonl and config.yaml beside it")
    say(f"held-out rows are not measured yet: edgetool eval {run.path} --base")
    say(f"next: edgetool export {run.path} --gguf")
    if run.verb == SFT:
        say(
            f"or go on with GRPO: edgetool train --config {run.path}/config.yaml --init-adapter "
            f"{run.path} --set output_dir={run.path}-grpo"
        )


def _every_step(rows: Sequence[Mapping[str, Any]], result: TrainResult) -> bool:
    return len(rows) == result.steps


def _course(rows: Sequence[Mapping[str, Any]], verb: str) -> str:
    """': reward 0.412 -> 0.655, ... (means of the first and the last 6 logged steps)'."""
    size = min(AVERAGED, len(rows) // 3)
    if not size:
        return ""
    parts = [
        f"{name} {form.format(_mean(rows[:size], key))} -> {form.format(_mean(rows[-size:], key))}"
        for key, (name, form) in SHOWN[verb].items()
    ]
    which = (
        f"means of the first and the last {size} logged steps"
        if size > 1
        else ("the first and the last logged step")
    )
    return f": {', '.join(parts)} ({which})"


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))
