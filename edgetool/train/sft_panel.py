"""What a supervised run looks like while it runs."""

from __future__ import annotations

from rich.panel import Panel as Box
from rich.table import Table

from edgetool.activity import duration
from edgetool.train.progress import View, framed, memory
from edgetool.train.sft import SFTReport


def line(report: SFTReport, seconds_left: float) -> str:
    """One step in one line."""
    m = report.metrics
    return (
        f"step {report.step}/{report.max_steps}  loss {m['loss']:.4f}  "
        f"accuracy {m['mean_token_accuracy']:.1%}  entropy {m['entropy']:.3f}  "
        f"{m['tokens_per_second']:.0f} tok/s  {memory(m)}  {m['step_time']:.1f} s  "
        f"left {duration(seconds_left)}"
    )


def draw(report: SFTReport, seconds_left: float) -> Box:
    """The live panel of one step."""
    m = report.metrics
    table = Table.grid(padding=(0, 2))
    table.add_row("loss", f"{m['loss']:.4f}", "token accuracy", f"{m['mean_token_accuracy']:.1%}")
    table.add_row("entropy", f"{m['entropy']:.3f}", "gradient norm", f"{m['grad_norm']:.3g}")
    table.add_row("tokens/s", f"{m['tokens_per_second']:.0f}", "memory", memory(m))
    return framed(report, seconds_left, table)


VIEW = View(line, draw)
