"""Measure this machine."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edgetool.calls.types import Example
from edgetool.commands.common import JsonOption, ModelArgument, TemplateOption, console, group
from edgetool.commands.targets import gguf_of
from edgetool.data import demo
from edgetool.errors import UsageError
from edgetool.runtime import Sampling
from edgetool.system import machine, peak_resident_mb

if TYPE_CHECKING:
    from edgetool.llama.session import LlamaSession

MIB = 2**20

app = group(__doc__)


@app.command("device")
def bench_device(
    model: ModelArgument,
    rows: Annotated[int, typer.Option(help="Demo rows to answer.")] = 20,
    max_completion_length: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 96,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    """Tokens per second, time to first token and memory of a GGUF file, free and constrained."""
    run_bench_device(
        gguf_of(model),
        console(),
        rows=rows,
        max_completion_length=max_completion_length,
        template=template,
        as_json=json_,
    )


@dataclass(frozen=True)
class Speed:
    """One arm: medians over the rows. Seconds, tokens a second, MiB."""

    arm: str
    rows: int
    prompt_tokens: float
    completion_tokens: float
    first_token_s: float
    tokens_per_s: float
    peak_mb: float


def run_bench_device(
    model: Path,
    console: Console,
    *,
    rows: int,
    max_completion_length: int,
    template: str | None = None,
    as_json: bool = False,
) -> list[Speed]:
    """Measure both arms on demo rows, greedy, and print a table to paste.

    template   as `template_choice.choose` is asked for one

    One row beforehand warms up: it reads the file in. Time to the first token counts reading the
    prompt from nothing; tokens a second count those after the first.
    """
    from edgetool.llama.session import LlamaSession, chosen_by

    if rows < 1 or max_completion_length < 2:
        raise UsageError(
            f"--rows {rows} --max-completion-length {max_completion_length}: expected at least 1 "
            "and 2"
        )
    examples = demo.examples("validation", rows)
    with LlamaSession(model, template=template) as session:
        if note := chosen_by(session.prompter).note:
            print(f"edgetool: {note}", file=sys.stderr)
        found = [
            _measure(session, examples, max_completion_length, constrained=constrained)
            for constrained in (False, True)
        ]
    if as_json:
        print(json.dumps([asdict(speed) for speed in found], indent=2))
    else:
        console.print(table(model, found), markup=False)
    return found


def table(model: Path, found: list[Speed]) -> str:
    """Markdown."""
    size, about = model.stat().st_size / MIB, machine()
    cpu = f"{about['cpu']}, {about['cores']} cores"
    lines = [
        f"{model.name}, {size:,.0f} MiB, on {cpu}, {found[0].rows} rows, greedy:",
        "",
        "| arm | prompt tokens | first token | tokens/s | most resident |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {s.arm} | {s.prompt_tokens:.0f} | {1000 * s.first_token_s:,.0f} ms "
        f"| {s.tokens_per_s:,.1f} | {s.peak_mb:,.0f} MiB |"
        for s in found
    ]
    return "\n".join(lines)


def _measure(
    session: LlamaSession, examples: list[Example], length: int, *, constrained: bool
) -> Speed:
    """Medians over the rows; whoever writes one token has no speed and leaves it to the others."""
    from edgetool.grammar.llguidance import for_llama

    maker = for_llama(session) if constrained else None
    prompts, lengths, firsts, speeds = [], [], [], []
    for number, example in enumerate([examples[0], *examples]):
        ids = session.prompter.ids(example.messages, example.tools)
        constraint = maker(example.tools) if maker else None
        session.generate(ids[:1], Sampling(1))  # so that nothing of this prompt has been read
        stamps = [time.perf_counter()]

        def note(_: bytes, stamps: list[float] = stamps) -> None:
            stamps.append(time.perf_counter())

        session.generate(ids, Sampling(length), constraint, note)
        if number == 0 or len(stamps) < 2:
            continue
        prompts.append(len(ids))
        lengths.append(len(stamps) - 1)
        firsts.append(stamps[1] - stamps[0])
        if len(stamps) > 2:
            speeds.append((len(stamps) - 2) / (stamps[-1] - stamps[1]))
    if not firsts:
        raise UsageError(f"{session.path}: it wrote nothing to any of the rows; try more --rows")
    return Speed(
        "constrained" if constrained else "free",
        len(firsts),
        statistics.median(prompts),
        statistics.median(lengths),
        statistics.median(firsts),
        statistics.median(speeds) if speeds else 0.0,
        peak_resident_mb(),
    )
