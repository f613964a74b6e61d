"""`edgetool eval`: a run's policy or a GGUF file on rows with known calls, arm by arm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edgetool.calls.runtime import Runtime, Sampling
from edgetool.calls.types import Example
from edgetool.cpu import tune
from edgetool.data import sources
from edgetool.errors import UsageError
from edgetool.eval.evaluate import ArmResult, evaluate
from edgetool.eval.measures import summarize
from edgetool.eval.report import write_report
from edgetool.eval.tables import rich_table
from edgetool.verbs.run_folder import RunFolder

if TYPE_CHECKING:
    from edgetool.train.policy import Policy


def run_eval(
    target: Path,
    data: str,
    arms: Sequence[str],
    console: Console,
    *,
    base: bool,
    rows: int | None,
    sampling: Sampling,
    out: Path | None,
) -> None:
    """Evaluate, print a table and, for a run or with `out`, write report.json and report.html."""
    tune()
    started = time.perf_counter()
    examples = sources.load(data, "validation", rows)
    finished: list[ArmResult] = []
    for model, runtime in _runtimes(target, base):
        finished += run_arms(runtime, examples, model, arms, sampling, console)
    folder = out or (target / "eval" if target.is_dir() else None)
    console.print(rich_table([summarize(arm) for arm in finished]))
    if folder is not None:
        path = write_report(
            folder,
            arms=finished,
            job_seconds=time.perf_counter() - started,
            metrics=RunFolder(target).metrics(),
            config={"target": str(target), "data": data, **asdict(sampling)},
            fidelity={},
            examples=examples,
        )
        console.print(f"report: {path.with_suffix('.html')}")


def run_arms(
    runtime: Runtime,
    examples: Sequence[Example],
    model: str,
    arms: Sequence[str],
    sampling: Sampling,
    console: Console,
) -> list[ArmResult]:
    """Every arm of one runtime, with a progress line."""
    finished = []
    for arm in arms:
        with console.status(f"{model} · {runtime.name} · {arm}: {len(examples)} rows"):
            done = evaluate(runtime, examples, model=model, arm=arm, sampling=sampling)
        exact = sum(row.verdict.exact for row in done.results)
        console.print(f"{done.label}: {exact} of {len(examples)} rows exact")
        finished.append(done)
    return finished


def _runtimes(target: Path, base: bool) -> Iterator[tuple[str, Runtime]]:
    if target.suffix == ".gguf":
        if base:
            raise UsageError("--base needs a run folder: a GGUF file does not hold its base model")
        with gguf_runtime(target) as runtime:
            yield target.stem, runtime
    else:
        yield from _policy_runtimes(RunFolder.open(target), base)


@contextmanager
def gguf_runtime(path: Path) -> Iterator[Runtime]:
    """A GGUF file in llama.cpp, named after its quantization: gguf:Q8_0."""
    from edgetool.serve.runtime import GGUFRuntime
    from edgetool.serve.session import LlamaSession

    quant = path.stem.rsplit(".", 1)[-1]
    with LlamaSession(path) as session:
        yield GGUFRuntime(session, f"gguf:{quant}")


def _policy_runtimes(run: RunFolder, base: bool) -> Iterator[tuple[str, Runtime]]:
    from edgetool.verbs.training import open_policy

    policy = open_policy(run, trained=True)
    runtime = policy_runtime(policy)
    if base:
        with policy.reference():
            yield "base", runtime
    yield "trained", runtime


def policy_runtime(policy: Policy, name: str = "policy") -> Runtime:
    """A torch policy with both arms."""
    from edgetool.serve.constrained import for_tokenizer
    from edgetool.train.runtime import PolicyRuntime

    constraint = for_tokenizer(policy.tokenizer, policy.prompter.syntax)
    return PolicyRuntime(policy, name=name, constraint=constraint)
