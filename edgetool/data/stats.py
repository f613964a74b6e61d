"""What is in a file of rows, and what two files share. One pass; a few numbers a row are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example
from edgetool.data.rows import EVALUATION_ONLY
from edgetool.data.split import normalised


@dataclass
class Stats:
    """Counts over rows. Utterances and whole rows are kept as hashes, for duplicates and leaks."""

    rows: int = 0
    no_call: int = 0
    evaluation_only: int = 0
    repeated_rows: int = 0  # the same utterance and calls as an earlier row
    tools_per_row: Counter[int] = field(default_factory=Counter)
    calls_per_row: Counter[int] = field(default_factory=Counter)
    messages_per_row: Counter[int] = field(default_factory=Counter)
    utterance_characters: Counter[int] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    called: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    utterances: set[int] = field(default_factory=set)
    whole: set[int] = field(default_factory=set)

    def add(self, row: Example) -> None:
        self.rows += 1
        self.no_call += not row.calls
        self.evaluation_only += bool(row.metadata.get(EVALUATION_ONLY))
        self.tools_per_row[len(row.tools)] += 1
        self.calls_per_row[len(row.calls)] += 1
        self.messages_per_row[len(row.messages)] += 1
        self.utterance_characters[len(row.utterance)] += 1
        self.offered.update(tool.name for tool in row.tools)
        self.called.update(call.name for call in row.calls)
        self.sources[str(row.metadata.get("source", "unnamed"))] += 1
        utterance = normalised(row.utterance)
        self.utterances.add(hash(utterance))
        messages = [[m.get("role"), m.get("content")] for m in row.messages]
        whole = hash((utterance, dumps(messages), dumps([call.as_json() for call in row.calls])))
        self.repeated_rows += whole in self.whole
        self.whole.add(whole)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for people and for programs."""
        return {
            "rows": self.rows,
            "abstention_share": self.no_call / self.rows if self.rows else 0.0,
            "evaluation_only": self.evaluation_only,
            "tools": {"offered": len(self.offered), "called": len(self.called)},
            "tools_per_row": _spread(self.tools_per_row),
            "calls_per_row": dict(sorted(self.calls_per_row.items())),
            "messages_per_row": _spread(self.messages_per_row),
            "utterance_characters": _spread(self.utterance_characters),
            "utterances": len(self.utterances),
            "repeated_rows": self.repeated_rows,
            "most_called": dict(self.called.most_common(10)),
            "sources": dict(self.sources.most_common()),
        }


def gather(rows: Iterable[Example]) -> Stats:
    """Statistics of the rows."""
    stats = Stats()
    for row in rows:
        stats.add(row)
    return stats


def leaks(one: Stats, other: Stats) -> dict[str, int]:
    """What both files have: utterances, whole rows, tools that are called in both."""
    return {
        "utterances": len(one.utterances & other.utterances),
        "rows": len(one.whole & other.whole),
        "called_tools": len(one.called.keys() & other.called.keys()),
    }


def _spread(counts: Counter[int]) -> dict[str, float]:
    """Least, middle, 95th percentile, most and mean of what was counted."""
    if not counts:
        return {}
    ordered = sorted(counts)
    mean = sum(value * count for value, count in counts.items()) / counts.total()
    return {
        "min": ordered[0],
        "p50": _percentile(counts, ordered, 0.5),
        "p95": _percentile(counts, ordered, 0.95),
        "max": ordered[-1],
        "mean": round(mean, 2),
    }


def _percentile(counts: Counter[int], ordered: list[int], share: float) -> int:
    """The smallest value that at least `share` of the rows do not exceed."""
    left = share * counts.total()
    for value in ordered:
        left -= counts[value]
        if left <= 0:
            return value
    return ordered[-1]
