"""A whole run: steps, metrics, checkpoints, and stopping without losing work.

runs/<name>/metrics.jsonl                 one row per logged step
runs/<name>/checkpoints/step-000050/      see checkpoint.py
runs/<name>/adapter/                      the trained adapter, written when the run is done
runs/<name>/tensorboard/                  when asked for
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from edgetool.activity import Activity, duration
from edgetool.calls.types import Example
from edgetool.errors import ConfigError, EdgetoolError, UsageError
from edgetool.files import read_log, sweep, write_error
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import checkpoint, partial_step
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.engines import RolloutEngine
from edgetool.train.grpo_step import Interrupted, Stepper
from edgetool.train.metrics import METRICS, MetricsFile, tensorboard_writer
from edgetool.train.policy import Policy
from edgetool.train.rows import Row, Rows, prepare_rows
from edgetool.train.settings import GRPOSettings, StepSettings
from edgetool.train.stop import StopRequest

# A resumed run may be longer or be logged otherwise; anything else would make it another run.
MAY_CHANGE = frozenset(
    {
        "max_steps",
        "save_steps",
        "logging_steps",
        "report_to",
        "packed_tokens",
        "gradient_checkpointing",
        "max_sampling_kl",
    }
)

NOT_FINITE_IN_A_ROW = 3  # steps whose update was skipped before a run gives up

OpenEngine = Callable[[Policy, int, int], RolloutEngine]
OnStep = Callable[[Any], None]  # takes the report of the method that is trained with


class AnyReport(Protocol):
    """What came out of a step, of whatever method."""

    @property
    def step(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def metrics(self) -> dict[str, float]: ...
    @property
    def rows(self) -> Sequence[Row]: ...


class AnyStepper(Protocol):
    """A way to train, step by step; see `grpo_step.Stepper`, which is GRPO's."""

    num_tokens: int
    begun: partial_step.PartialStep | None
    activity: Activity

    @property
    def policy(self) -> Policy: ...
    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def settings(self) -> StepSettings: ...
    @property
    def optimizer(self) -> torch.optim.Optimizer: ...
    @property
    def ranks(self) -> Ranks: ...
    def identity(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, Any]:
        """JSON values: what changes beside the adapter, the optimizer, num_tokens and begun."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        ...

    def run(self, step: int, stop_wanted: Callable[[], bool]) -> AnyReport: ...


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    adapter       the trained adapter; None when the run was stopped before its last step
    checkpoint    the newest checkpoint
    interrupted   stopped by Ctrl-C or SIGTERM
    last          the metrics of the last step run here; empty when there was none left to run
    rows          what was trained on, and what was too long for it
    """

    steps: int
    adapter: Path | None
    checkpoint: Path | None
    interrupted: bool
    last: Mapping[str, float]
    rows: Rows[Any]


def train(
    policy: Policy,
    examples: Sequence[Example],
    rewards: Sequence[WeightedReward],
    settings: GRPOSettings,
    output_dir: Path,
    *,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
    activity: Activity | None = None,
    open_engine: OpenEngine | None = None,
) -> TrainResult:
    """Train the policy's adapter with GRPO and leave it in `output_dir`/adapter.

    resume    go on from the newest complete checkpoint; from the start when there is none yet
    on_step   called after every step, e.g. Panel.show
    on_note   called with lines worth saying: rows left out, where a run goes on
    ranks     the processes that train together; the first of them writes all files
    activity  is kept to what the run does right now
    open_engine   of the rollouts, given the policy, and tokens and completions of the largest;
              None: torch

    The first Ctrl-C or SIGTERM ends the run after the rollout or the iteration at hand; what is
    done of the step goes into a checkpoint, and `resume` gives the result of an uninterrupted run.
    Who insists (see stop.py) gets KeyboardInterrupt, and has the newest checkpoint.

    Raises UsageError when the folder holds a run already, ConfigError when a resumed run's settings
    differ, PromptTooLong and DataError as prepare_rows does.
    """
    if not ranks.first:
        on_step = on_note = None
    say = on_note or (lambda _: None)
    if not rewards:
        raise UsageError("no reward functions; name at least one")
    activity = activity or Activity()
    rows = prepare_rows(policy, examples, settings, activity)
    if note := rows.note():
        say(note)
    longest = max(len(row.prompt) for row in rows.rows) + settings.max_completion_length
    together = settings.prompts_per_step * settings.num_generations
    engine = open_engine(policy, longest, together) if open_engine else None
    stepper = Stepper(policy, rows.rows, rewards, settings, say, ranks, activity, engine)
    try:
        return run_steps(stepper, rows, output_dir, resume=resume, on_step=on_step, on_note=say)
    finally:
        stepper.engine.close()


def run_steps(
    stepper: AnyStepper,
    rows: Rows[Any],
    output_dir: Path,
    *,
    resume: bool,
    on_step: OnStep | None,
    on_note: Callable[[str], None],
) -> TrainResult:
    """All steps of a run, whatever the method; arguments and errors as of `train`."""
    policy, settings, ranks = stepper.policy, stepper.settings, stepper.ranks
    first = _begin(output_dir, stepper, resume, on_note)
    if ranks.first:
        _sweep(output_dir, on_note)
    with _saying_what_is_left(output_dir):
        run = _Run(output_dir, stepper, first, on_step or (lambda _: None))
    adapter = None
    with StopRequest(on_note, lambda: stepper.activity.text, run.at_stake) as stop:
        done = run.go(stop)
        if done == settings.max_steps:
            adapter = output_dir / "adapter"
            if ranks.first:
                with stop.saving("the trained adapter"), _saying_what_is_left(output_dir):
                    checkpoint.save_adapter(policy, adapter)
    ranks.any(False)  # nobody leaves before the files are there
    newest = checkpoint.newest(run.checkpoints)
    return TrainResult(done, adapter, newest, done < settings.max_steps, run.last, rows)


def _sweep(output_dir: Path, say: Callable[[str], None]) -> None:
    """Remove what a run that was killed, or found the disk full, has left unfinished."""
    swept = sweep(output_dir, "adapter", METRICS)
    if unfinished := checkpoint.sweep(output_dir / "checkpoints"):
        swept.append(f"{unfinished} in checkpoints")
    if swept:
        say(f"{output_dir}: removed what was left unfinished ({', '.join(swept)})")


@contextmanager
def _saying_what_is_left(output_dir: Path) -> Iterator[None]:
    """A disk's error is one line that names the newest checkpoint."""
    try:
        yield
    except Exception as error:
        found = write_error(error, output_dir)
        if found is None:
            raise
        kept = checkpoint.newest(output_dir / "checkpoints")
        left = f"{kept} is whole, --resume goes on after it" if kept else "nothing was saved yet"
        raise EdgetoolError(f"{found}; {left}") from error


def require_fresh(output_dir: Path) -> None:
    """Raises UsageError when the folder holds a run already, or the metrics of one."""
    other = "remove the folder, or choose another output folder with --set output_dir=FOLDER"
    if checkpoint.newest(output_dir / "checkpoints") or (output_dir / "adapter").exists():
        raise UsageError(
            f"{output_dir} holds a run already; add --resume to go on with it, {other}"
        )
    if steps := len(read_log(output_dir / METRICS)):
        raise UsageError(
            f"{output_dir} holds the metrics of {steps} steps and no checkpoint of them; add "
            f"--resume to start again from the first step, {other}"
        )


def _begin(output_dir: Path, stepper: AnyStepper, resume: bool, say: Callable[[str], None]) -> int:
    """Steps already done, their state loaded into the stepper."""
    folder = output_dir / "checkpoints"
    if not resume:
        require_fresh(output_dir)
        return 0
    newest = checkpoint.newest_intact(folder, say)
    if newest is None:
        say(f"{output_dir} has no checkpoint yet; starting from the first step")
        if steps := len(read_log(output_dir / METRICS)):
            say(f"the metrics of {steps} steps that no checkpoint holds are dropped")
        return 0
    progress = checkpoint.restore(newest, stepper.policy, stepper.optimizer)
    _check_same(progress.settings, _plain(stepper), newest)
    stepper.num_tokens = progress.num_tokens
    stepper.restore(progress.state)
    stepper.begun = partial_step.read(newest, stepper.rows, stepper.policy.prompter.syntax)
    say(f"going on after step {progress.step} ({newest})")
    return progress.step


def _plain(stepper: AnyStepper) -> dict[str, Any]:
    """The settings as JSON gives them back, and what else must stay the same."""
    plain = {**dataclasses.asdict(stepper.settings), **stepper.identity()}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    differing = [
        "the rows are others" if key == "rows" else f"{key} was {before.get(key)}, now {now[key]}"
        for key in sorted(now)
        if key not in MAY_CHANGE and before.get(key) != now[key]
    ]
    if differing:
        raise ConfigError(
            f"{path} was made with other settings: {'; '.join(differing)}; set them back to resume,"
            " or choose another output folder"
        )


class _Run:
    """The loop over steps and what it writes."""

    def __init__(self, output_dir: Path, stepper: AnyStepper, first: int, on_step: OnStep) -> None:
        output_dir.mkdir(parents=True, exist_ok=True)
        self.stepper, self.settings, self.first = stepper, stepper.settings, first
        self.on_step, self.checkpoints = on_step, output_dir / "checkpoints"
        self.ranks = stepper.ranks
        self.told = _plain(stepper)  # once: it reads every row
        if self.ranks.first:
            self.metrics_file = MetricsFile(output_dir / METRICS, first)
        wanted = "tensorboard" in self.settings.report_to and self.ranks.first
        self.writer = tensorboard_writer(output_dir / "tensorboard") if wanted else None
        self.last: Mapping[str, float] = {}
        self.done = self.saved = first
        self.saved_at = time.monotonic()
        self.not_finite: list[list[str]] = []  # the rows of each

    def go(self, stop: StopRequest) -> int:
        """Run the steps that are left; returns how many are done in all."""
        torn = False
        try:
            while self.done < self.settings.max_steps and not self.ranks.any(stop.wanted):
                try:
                    report = self.stepper.run(self.done, lambda: stop.wanted)
                except Interrupted:
                    break
                self.done += 1
                self._log(report)
                self._check_finite(report)
                if self.done % self.settings.save_steps == 0:
                    self._save(stop)
        except KeyboardInterrupt:  # somebody insisted; it may have hit an optimizer step half-way
            torn = True
            raise
        finally:
            if self.writer is not None:
                self.writer.close()
            if not torn and (self.saved != self.done or self.stepper.begun is not None):
                self._save(stop)
        return self.done

    def at_stake(self) -> str:
        """What is done and in no checkpoint, in words."""
        steps = [f"steps {self.saved + 1} to {self.done}"] if self.done > self.saved + 1 else []
        steps = [f"step {self.done}"] if self.done == self.saved + 1 else steps
        if self.done < self.settings.max_steps:
            steps.append(f"what is done of step {self.done + 1}")
        kept = f"step {self.saved} is saved" if self.saved else "nothing is saved yet"
        spent = duration(time.monotonic() - self.saved_at)
        return f"{' and '.join(steps)}, {spent} of work ({kept})"

    def _check_finite(self, report: AnyReport) -> None:
        """Raises EdgetoolError when one update after the other could not be applied."""
        if not report.metrics["skipped_updates"]:
            self.not_finite.clear()
            return
        self.not_finite.append([row.example.id for row in report.rows])
        if len(self.not_finite) == NOT_FINITE_IN_A_ROW:
            rows = ", ".join(dict.fromkeys(id_ for ids in self.not_finite for id_ in ids))
            raise EdgetoolError(
                f"the gradient was NaN or infinite in {NOT_FINITE_IN_A_ROW} steps in a row, and "
                f"none of them was applied; rows: {rows}; lower learning_rate, or look at the rows"
            )

    def _log(self, report: AnyReport) -> None:
        self.last = report.metrics
        if not self.ranks.first:
            return
        if report.step % self.settings.logging_steps == 0 or report.step == report.max_steps:
            with _saying_what_is_left(self.checkpoints.parent):
                self.metrics_file.append(report.metrics)
            if self.writer is not None:
                for name, value in report.metrics.items():
                    self.writer.add_scalar(f"train/{name}", value, report.step)
        self.on_step(report)

    def _save(self, stop: StopRequest) -> None:
        stepper, what = self.stepper, f"the checkpoint of step {self.done}"
        stepper.activity.begin(f"saving {what}")
        if self.ranks.first:
            progress = checkpoint.Progress(
                self.done, stepper.num_tokens, self.told, stepper.state()
            )
            half_done = stepper.begun
            extra = (lambda folder: half_done.write(folder, stepper.rows)) if half_done else None
            with stop.saving(what), _saying_what_is_left(self.checkpoints.parent):
                checkpoint.save(
                    self.checkpoints, stepper.policy, stepper.optimizer, progress, extra
                )
        self.saved, self.saved_at = self.done, time.monotonic()
