"""The rows of report.json as tables: Markdown for a README, rich for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

COLUMNS = (
    "model",
    "runtime",
    "arm",
    "rows",
    "exact match [95 % CI]",
    "right tool",
    "valid",
    "abstention",
    "p50 ms",
    "p95 ms",
)
TEXT_COLUMNS = 3  # the rest are numbers and stand to the right


def markdown_table(rows: Sequence[Row]) -> str:
    """A GitHub-flavoured Markdown table, shares in per cent."""
    rule = ["---"] * TEXT_COLUMNS + ["---:"] * (len(COLUMNS) - TEXT_COLUMNS)
    lines = [COLUMNS, rule, *([_escape(cell) for cell in cells(row)] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def rich_table(rows: Sequence[Row]) -> Table:
    """The same table for a terminal."""
    table = Table(title="Evaluation", title_justify="left")
    for number, column in enumerate(COLUMNS):
        justify = "left" if number < TEXT_COLUMNS else "right"
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) for cell in cells(row)))
    return table


def cells(row: Row) -> list[str]:
    """The cells of one row, in the order of COLUMNS."""
    low, high = row["exact_match_ci95"]
    return [
        row["model"],
        row["runtime"],
        row["arm"],
        str(row["n"]),
        f"{percent(row['exact_match'])} [{100 * low:.1f}, {100 * high:.1f}]",
        percent(row["right_tool"]),
        percent(row["valid"]),
        percent(row["irrelevance"]),
        milliseconds(row["latency_ms_p50"]),
        milliseconds(row["latency_ms_p95"]),
    ]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
