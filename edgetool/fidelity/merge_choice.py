"""Which weights to merge into, the original ones or those training saw: measured, not believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetool.export.weights import MERGE_INTO
from edgetool.fidelity.reference import StageResult

AUTO = "auto"


@dataclass(frozen=True)
class MergeChoice:
    """What was chosen, and by what.

    by   "rows lost", or "mean KL" where as many were lost, or "what was trained on" where that is
         a tie too
    """

    chosen: str
    by: str
    results: dict[str, StageResult]

    @property
    def tie(self) -> bool:
        """As many rows were lost by one as by the other."""
        return self.by != "rows lost" and len(self.results) > 1

    @property
    def summary(self) -> str:
        """A line for the terminal."""
        lost = ", ".join(f"{name} loses {result.lost}" for name, result in self.results.items())
        how = f": a tie, decided by {self.by}" if self.tie else ""
        return f"merging into {self.chosen} ({lost} of the adapter's right rows{how})"

    def as_json(self) -> dict[str, Any]:
        return {
            "chosen": self.chosen,
            "by": self.by,
            "tie": self.tie,
            "measured": {name: result.as_json() for name, result in self.results.items()},
        }


def choose(results: dict[str, StageResult]) -> MergeChoice:
    """The merge that loses the fewest of the rows that the adapter had right."""
    lost = {name: float(result.lost) for name, result in results.items()}
    divergence = {name: result.kl_mean or 0.0 for name, result in results.items()}
    for by, values in (("rows lost", lost), ("mean KL", divergence)):
        best = [name for name, value in values.items() if value == min(values.values())]
        if len(best) == 1:
            return MergeChoice(best[0], by, results)
    trained_on = MERGE_INTO if MERGE_INTO in results else next(iter(results))
    return MergeChoice(trained_on, "what was trained on", results)
