"""The receipt as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edgetool.eval.report.tables import percent
from edgetool.fidelity.reference import StageResult

COLUMNS = (
    "step", "exact match [95 % CI]", "lost", "gained", "calls", "prompts", "KL mean", "KL p99",
    "perplexity", "MB", "load s",
)  # fmt: skip


def receipt_table(results: Sequence[StageResult], rejected: Sequence[str] = ()) -> Table:
    """A line for every stage, in the order of the way.

    lost, gained      rows, against the adapter
    calls, prompts    share of rows with the adapter's calls, with its token ids
    """
    rows = results[0].rows if results else 0
    table = Table(title=f"Receipt: {rows} held-out rows, greedy", title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for result in results:
        mark = "  rejected" if result.step in rejected else ""
        table.add_row(result.step + mark, *_cells(result))
    return table


def _cells(result: StageResult) -> list[str]:
    low, high = result.exact_match_ci95
    return [
        f"{percent(result.exact_match)} [{100 * low:.1f}, {100 * high:.1f}]",
        str(result.lost),
        str(result.gained),
        percent(result.call_agreement),
        percent(result.prompt_parity),
        _number(result.kl_mean, 5),
        _number(result.kl_p99, 4),
        _number(result.perplexity, 4),
        "–" if result.size is None else f"{result.size / 1e6:,.1f}",
        f"{result.load_seconds:.2f}",
    ]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
