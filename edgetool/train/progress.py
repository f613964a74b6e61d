"""What a run looks like while it runs: a live panel, or one line per logged step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from edgetool.activity import MOST_QUIET, Activity, Watch, duration
from edgetool.rewards.scoring import Scored
from edgetool.train.grpo_step import StepReport
from edgetool.train.loop import AnyReport
from edgetool.train.sft import SFTReport

SAMPLES = 4
NOTHING = Text()  # before the first step


@dataclass(frozen=True)
class View:
    """How a step's report is shown, with the seconds that are left."""

    line: Callable[[Any, float], str]
    draw: Callable[[Any, float], Box]


class Panel:
    """Shows steps while a `with` block runs; hand `show` to train as `on_step`.

    On a terminal a panel is redrawn in place, and below it stands what the run does right now.
    Elsewhere, in a log file say, every `logging_steps`-th step is a line, and what the run does is
    one where it has been silent for long.

    view       how; None: as a step of GRPO
    activity   for those who do the work to tell
    """

    def __init__(
        self, console: Console | None = None, logging_steps: int = 1, view: View | None = None
    ) -> None:
        self.console = console or Console()
        self.view = view or View(line, draw)
        self.logging_steps = logging_steps
        self.activity = Activity()
        self._live: Live | None = None
        self._box: RenderableType = NOTHING
        self._clock = _Clock()
        self._watch: Watch | None = None

    def __enter__(self) -> Panel:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self._watch = Watch(self.activity, self.note, self._redraw if self._live else None)
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._watch is not None
        self._watch.__exit__()
        if self._live is not None:
            self._live.transient = self._box is NOTHING
            self._live.update(self._box, refresh=True)
            self._live.stop()
            self._live = None

    def _redraw(self) -> None:
        assert self._live is not None
        below = Text(f"{self.activity.text} ...", "dim", no_wrap=True, overflow="ellipsis")
        self._live.update(Group(self._box, below), refresh=True)

    def note(self, line: str) -> None:
        """Say a line above the panel."""
        self._spoken()
        self.console.print(Text(line))

    def _spoken(self, patience: float | None = None) -> None:
        if self._watch is not None:
            self._watch.spoken(patience)

    def show(self, report: AnyReport) -> None:
        left = self._clock.left(report)
        if self._live is not None:
            self._box = self.view.draw(report, left)
            self._redraw()
        elif report.step % self.logging_steps == 0 or report.step == report.max_steps:
            self._spoken(MOST_QUIET)
            self.console.print(Text(self.view.line(report, left)), soft_wrap=True)


class _Clock:
    """How long the rest will take, at the pace of the recent steps."""

    def __init__(self) -> None:
        self._pace: float | None = None
        self._before: float | None = None

    def left(self, report: AnyReport) -> float:
        """Seconds to go; the time between reports counts, saving included.

        Before the first report the rows were read, which no later step does again.
        """
        now = time.perf_counter()
        took = report.metrics["step_time"] if self._before is None else now - self._before
        self._before = now
        self._pace = took if self._pace is None else 0.8 * self._pace + 0.2 * took
        return self._pace * (report.max_steps - report.step)


def line(report: StepReport, seconds_left: float) -> str:
    """One step in one line."""
    m, drawn = report.metrics, _sampling(report.metrics)
    engine = f"engine KL {drawn[0]} ratio {drawn[1]}  " if drawn else ""
    return (
        f"step {report.step}/{report.max_steps}  reward {m['reward']:.3f} ± {m['reward_std']:.3f}  "
        f"valid {m['valid']:.0%}  tool {m['right_tool']:.0%}  exact {m['exact']:.0%}  "
        f"equal rewards in {_equal_groups(report)} groups  {engine}"
        f"{m['tokens_per_second']:.0f} tok/s  "
        f"{memory(m)}  {m['step_time']:.1f} s  left {duration(seconds_left)}"
    )


def draw(report: StepReport, seconds_left: float) -> Box:
    """The live panel of one step."""
    return framed(report, seconds_left, Group(_numbers(report), _samples(report)))


def framed(report: AnyReport, seconds_left: float, body: RenderableType) -> Box:
    title = f"step {report.step} of {report.max_steps} · {duration(seconds_left)} left"
    return Box(body, title=title, title_align="left", border_style="dim")


def _numbers(report: StepReport) -> Table:
    m = report.metrics
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "reward", f"{m['reward']:.3f} ± {m['reward_std']:.3f}", "loss", f"{m['loss']:.4f}"
    )
    table.add_row("valid", f"{m['valid']:.1%}", "right tool", f"{m['right_tool']:.1%}")
    table.add_row("exact", f"{m['exact']:.1%}", "equal groups", _equal_groups(report))
    table.add_row("tokens/s", f"{m['tokens_per_second']:.0f}", "memory", memory(m))
    table.add_row("entropy", f"{m['entropy']:.3f}", "length", f"{m['completions/mean_length']:.0f}")
    if drawn := _sampling(m):
        table.add_row("engine KL", drawn[0], "engine ratio", drawn[1])
    return table


def _sampling(metrics: Mapping[str, float]) -> tuple[str, str] | None:
    """How far the engine of the rollout is from the trainer: KL and mean ratio, where measured."""
    kl, ratio = metrics["sampling/kl"], metrics["sampling/importance_sampling_ratio/mean"]
    return (f"{kl:.2g}", f"{ratio:.4f}") if kl else None


def _equal_groups(report: StepReport) -> str:
    """Groups whose completions were all paid the same, which teaches nothing: '3 of 8'."""
    groups = len(report.sampled.rows)
    return f"{round(report.metrics['frac_reward_zero_std'] * groups)} of {groups}"


def _samples(report: StepReport) -> Table:
    """The first completion of the first groups, whole on one line each as far as it fits."""
    table = Table(expand=True, box=None, padding=(0, 1))
    table.add_column("", width=1)
    table.add_column("reward", justify="right", width=6)
    table.add_column("row", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("completion", no_wrap=True, overflow="ellipsis", ratio=1)
    sampled = report.sampled
    for row, group in list(zip(sampled.rows, sampled.scored, strict=True))[:SAMPLES]:
        first: Scored = group[0]
        # Text, not str: what a model writes must not be read as console markup.
        shown = Text(" ".join(first.text.split()))
        mark = Text("✓", "green") if first.verdict.exact else Text("✗", "red")
        table.add_row(mark, f"{first.reward:.3f}", Text(row.example.id), shown)
    return table


def memory(metrics: Mapping[str, float]) -> str:
    resident = f"{metrics['rss_mb'] / 1024:.2f} GiB"
    device = metrics["device_mb"]
    return f"{resident} + {device / 1024:.2f} GiB on the device" if device else resident


def sft_line(report: SFTReport, seconds_left: float) -> str:
    """One step in one sft_line."""
    m = report.metrics
    return (
        f"step {report.step}/{report.max_steps}  loss {m['loss']:.4f}  "
        f"accuracy {m['mean_token_accuracy']:.1%}  entropy {m['entropy']:.3f}  "
        f"{m['tokens_per_second']:.0f} tok/s  {memory(m)}  {m['step_time']:.1f} s  "
        f"left {duration(seconds_left)}"
    )


def sft_draw(report: SFTReport, seconds_left: float) -> Box:
    """The live panel of one step."""
    m = report.metrics
    table = Table.grid(padding=(0, 2))
    table.add_row("loss", f"{m['loss']:.4f}", "token accuracy", f"{m['mean_token_accuracy']:.1%}")
    table.add_row("entropy", f"{m['entropy']:.3f}", "gradient norm", f"{m['grad_norm']:.3g}")
    table.add_row("tokens/s", f"{m['tokens_per_second']:.0f}", "memory", memory(m))
    return framed(report, seconds_left, table)


SFT_VIEW = View(sft_line, sft_draw)
