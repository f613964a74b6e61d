"""A step that was begun: its completions are written, its update is not finished.

Written into a checkpoint, so that a stop in the middle of a step loses neither the rollout nor the
iterations that are done:

    begun.json           the completions, their scores, how many iterations are done, its metrics
    begun.safetensors    old_logps [N, C], once the first iteration is done
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from edgetool.calls.syntaxes import CallSyntax
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import Row
from edgetool.train.update import UpdateMetrics, UpdateState

NAME, TENSORS = "begun.json", "begun.safetensors"


@dataclass
class PartialStep:
    """A step in the making.

    step      from 0
    state     of its update; None before the first iteration is done
    *_seconds spent on its rollout, and on its update so far
    """

    step: int
    sampled: RolloutBatch
    rollout_seconds: float
    train_seconds: float = 0.0
    state: UpdateState | None = None

    def write(self, folder: Path, rows: Sequence[Row]) -> None:
        """`rows`: all of the run's, as those of the step are kept by number."""
        state = self.state
        value = {
            "step": self.step,
            "rollout_seconds": self.rollout_seconds,
            "train_seconds": self.train_seconds,
            "iteration": state.iteration if state else 0,
            "metrics": dataclasses.asdict(state.metrics) if state else None,
            "sampled": self.sampled.as_json(rows),
        }
        (folder / NAME).write_text(json.dumps(value) + "\n", encoding="utf-8")
        if state:
            save_file({"old_logps": state.old_logps}, folder / TENSORS)


def read(folder: Path, rows: Sequence[Row], syntax: CallSyntax) -> PartialStep | None:
    """The begun step of a checkpoint; None when it was made between two steps."""
    if not (folder / NAME).exists():
        return None
    value = json.loads((folder / NAME).read_text(encoding="utf-8"))
    state = None
    if value["metrics"]:
        old_logps = load_file(folder / TENSORS)["old_logps"]
        state = UpdateState(old_logps, value["iteration"], UpdateMetrics(**value["metrics"]))
    sampled = RolloutBatch.from_json(value["sampled"], rows, syntax)
    return PartialStep(
        value["step"], sampled, value["rollout_seconds"], value["train_seconds"], state
    )
