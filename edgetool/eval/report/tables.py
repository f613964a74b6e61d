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
    head, texts = _columns(rows)
    return markdown_lines(head, [_line(row, texts) for row in rows], texts)


def markdown_lines(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table whose first `texts` columns are words and the rest numbers."""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    lines = [head, rule, *([_escape(cell) for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def rich_table(rows: Sequence[Row]) -> Table:
    """The same table for a terminal."""
    table = Table(title="Evaluation", title_justify="left")
    head, texts = _columns(rows)
    for number, column in enumerate(head):
        justify = "left" if number < texts else "right"
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) for cell in _line(row, texts)))
    return table


def _columns(rows: Sequence[Row]) -> tuple[list[str], int]:
    """The columns and how many of them are text: the category stands first where there is one."""
    if any(row.get("category") for row in rows):
        return ["category", *COLUMNS], TEXT_COLUMNS + 1
    return list(COLUMNS), TEXT_COLUMNS


def _line(row: Row, texts: int) -> list[str]:
    return ([row.get("category") or "own rows"] if texts > TEXT_COLUMNS else []) + cells(row)


def cells(row: Row) -> list[str]:
    """The cells of one row, in the order of COLUMNS."""
    return [
        row["model"],
        row["runtime"],
        row["arm"],
        str(row["n"]),
        exact_match(row),
        percent(row["right_tool"]),
        percent(row["valid"]),
        percent(row["irrelevance"]),
        milliseconds(row["latency_ms_p50"]),
        milliseconds(row["latency_ms_p95"]),
    ]


def exact_match(row: Row) -> str:
    """The share with its interval."""
    low, high = row["exact_match_ci95"]
    return f"{percent(row['exact_match'])} [{100 * low:.1f}, {100 * high:.1f}]"


def percent(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
