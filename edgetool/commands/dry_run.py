"""The dry run of `edgetool train` and `edgetool sft`: all that can be checked without training.

Every check is made, whatever the others found, and all problems come at once. No weights are read
and nothing is written.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from edgetool.activity import duration
from edgetool.calls.syntaxes import describe
from edgetool.calls.types import Example
from edgetool.catalogue import locate, require_trainable
from edgetool.commands.chat_template import say_template, template_of
from edgetool.commands.plan import check_memory, known_shape, look_ahead, table_of
from edgetool.commands.reward import weighted_rewards
from edgetool.config import Config
from edgetool.data import sources
from edgetool.data.rows import checked_rows
from edgetool.errors import DataError, EdgetoolError, UsageError
from edgetool.export.model_folder import cached
from edgetool.export.plan import check_exportable
from edgetool.files import require_writable
from edgetool.rewards.scoring import WeightedReward
from edgetool.run_folder import SFT, TRAIN, loading_of
from edgetool.train.adapter import find_adapter
from edgetool.train.checkpoint import KEPT
from edgetool.train.load import LoadSettings, load_without_weights
from edgetool.train.loop import require_fresh
from edgetool.train.memory.estimate import MIB, adapter_parameters
from edgetool.train.memory.model_shape import Shape
from edgetool.train.policy import Policy
from edgetool.train.progress import Panel
from edgetool.train.rows import prompt_limit
from edgetool.train.settings import GRPOSettings, SFTSettings, StepSettings
from edgetool.train.sft import SupervisedRow, supervised_rows, wrong_targets
from edgetool.train.step_time import Pace, Work, learning_seconds, rollout_seconds, timed_pace

NAMED = 5  # rows in a line
SHOWN = 3000  # characters of the prompt that is shown
T = TypeVar("T")


def run_dry(
    config: Config,
    console: Console,
    verb: str = TRAIN,
    *,
    init_adapter: Path | None = None,
    resume: bool = False,
) -> None:
    """Check a run and say what it will be; arguments as those of `run_training`.

    Raises UsageError when something was typed that cannot work, else EdgetoolError when something
    will fail; either with a line for each problem.
    """
    dry = _Dry(config, console, verb)
    dry.check_model()
    dry.check_folder(init_adapter, resume)
    if verb == TRAIN:
        dry.check_rewards()
    examples = dry.check_rows()
    policy = dry.load()
    rows = dry.check_prompts(policy, examples) if policy else []
    dry.say_steps(len(rows) or len(examples))
    dry.check_machine(policy, rows)
    if rows and policy:
        dry.show(policy, rows[0])
    dry.end()


@dataclass
class _Dry:
    """One dry run: what it looks at, and the problems so far."""

    config: Config
    console: Console
    verb: str
    problems: list[EdgetoolError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def settings(self) -> StepSettings:
        return self.config.sft if self.verb == SFT else self.config.grpo

    @property
    def loading(self) -> LoadSettings:
        return loading_of(self.config, self.settings, self.config.template)

    def say(self, what: str, text: str) -> None:
        self.console.print(Text(f"{what:<12}{text}"), soft_wrap=True)

    def fail(self, problem: str) -> None:
        self.problems.append(EdgetoolError(problem))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        try:
            yield
        except EdgetoolError as error:
            self.problems.append(error)

    def tried(self, work: Callable[[], T]) -> T | None:
        with self.collecting():
            return work()
        return None

    def check_model(self) -> None:
        config = self.config
        with self.collecting():
            require_trainable(config.model)
        with self.collecting():
            say_template(template_of(config.model, config.template), self.console)
        with self.collecting():
            if cached(locate(config.model)) is not None:
                check_exportable(locate(config.model), config.template)

    def check_folder(self, init_adapter: Path | None, resume: bool) -> None:
        folder = Path(self.config.output_dir)
        with self.collecting():
            require_writable(folder, "--set output_dir=FOLDER")
            if not resume:
                require_fresh(folder)
        with self.collecting():
            if init_adapter:
                find_adapter(init_adapter)

    def check_rewards(self) -> None:
        rewards = self.config.rewards
        found = [self._reward(name) for name in rewards]
        names = [f"{one[0].name} {one[0].weight:g}" for one in found if one]
        if all(found):
            with self.collecting():
                weighted_rewards(rewards)
        self.say("rewards", ", ".join(names) or "none that can be used")

    def _reward(self, name: str) -> list[WeightedReward] | None:
        return self.tried(lambda: weighted_rewards({name: self.config.rewards[name]}))

    def check_rows(self) -> list[Example]:
        """The rows to train on that can be used."""
        data = self.config.data
        examples = self._rows("rows", data.train, data.train_rows)
        self._rows("validation", data.validation, data.validation_rows)
        return examples

    def _rows(self, what: str, source: str, count: int | None) -> list[Example]:
        train = what == "rows"
        try:
            if train:
                examples = sources.load_for_training(source, count)
            else:
                examples = sources.load(source, "validation", count)
        except DataError as error:
            self.problems.append(error)
            examples = list(checked_rows(Path(source), lambda _: None))
            bad = len(error.problems)
            self.say(what, f"{len(examples)} of {source} can be used, {_problems(bad)} below")
            return examples[:count]
        except EdgetoolError as error:
            self.problems.append(error)
            return []
        calls = sum(bool(example.calls) for example in examples)
        without = len(examples) - calls
        self.say(what, f"{len(examples)} of {source}: {calls} with calls, {without} without")
        return examples

    def load(self) -> Policy | None:
        """What makes prompts; None where the model is not here, or cannot be used."""
        path = self.tried(lambda: cached(locate(self.config.model)))
        if path is None:
            model = self.config.model
            self.say("prompts", f"{model} is not on this machine yet: no prompt was made")
            return None
        known = {str(problem) for problem in self.problems}
        try:
            return load_without_weights(path, self.loading)
        except EdgetoolError as error:
            if str(error) not in known:
                self.problems.append(error)
            return None

    def check_prompts(self, policy: Policy, examples: Sequence[Example]) -> list[SupervisedRow]:
        """The rows that are short enough to be trained on."""
        prompter, config = policy.prompter, self.config
        self.say("call syntax", describe(prompter.syntax, prompter.template))
        targets = config.sft if self.verb == SFT else SFTSettings()
        with Panel(self.console) as panel:
            rows = self.tried(lambda: supervised_rows(policy, examples, targets, panel.activity))
        if not rows:
            return []
        self.say("prompts", f"tokens {_percentiles([len(row.prompt) for row in rows])}")
        self.say("targets", f"tokens {_percentiles([len(row.completion) for row in rows])}")
        self._check_targets(policy, rows)
        return self._short_enough(policy, rows)

    def _check_targets(self, policy: Policy, rows: Sequence[SupervisedRow]) -> None:
        wrong = wrong_targets(policy, rows)
        if wrong and self.verb == SFT:
            self.problems.append(DataError(wrong))
        elif wrong:
            self.warnings.append(f"{len(wrong)} rows can never be quite right, one is: {wrong[0]}")
        limit = self.config.grpo.max_completion_length
        cut = [row for row in rows if len(row.completion) > limit]
        if cut and self.verb == TRAIN:
            self.warnings.append(
                f"{len(cut)} rows ask for more tokens than max_completion_length = {limit}, and "
                f"can never be finished: {_names(cut)}; raise it to "
                f"{max(len(row.completion) for row in cut)}"
            )

    def _short_enough(self, policy: Policy, rows: list[SupervisedRow]) -> list[SupervisedRow]:
        if self.verb == SFT:
            limit = min(policy.context_length, self.config.sft.max_length or policy.context_length)
            lengths, key = [len(row) for row in rows], "max_length"
        else:
            found = self.tried(lambda: prompt_limit(policy, self.config.grpo))
            if found is None:
                return []
            limit, key = found, "max_prompt_length"
            lengths = [len(row.prompt) for row in rows]
        over = [row for row, length in zip(rows, lengths, strict=True) if length > limit]
        short = [row for row, length in zip(rows, lengths, strict=True) if length <= limit]
        which = f": {_names(over)}" if over else ""
        self.say("too long", f"{len(over)} of {len(rows)} rows over {limit} tokens{which}")
        if over and (not short or self.settings.too_long == "refuse"):
            self.fail(f"{len(over)} rows are too long; raise {key} or shorten them")
        return short

    def say_steps(self, rows: int) -> None:
        """How often the run will see its rows."""
        if not rows:
            return
        settings, size = self.settings, _rows_a_step(self.settings)
        epochs = settings.max_steps * size / rows
        self.say(
            "steps",
            f"{math.ceil(rows / size)} an epoch ({rows} rows, {size} a step); max_steps = "
            f"{settings.max_steps} are {epochs:.2g} epochs",
        )

    def check_machine(self, policy: Policy | None, rows: Sequence[SupervisedRow]) -> None:
        """Time, memory and disk."""
        shape = self.tried(lambda: known_shape(self.config.model))
        if shape is None:
            return
        longest = max((len(row.prompt) for row in rows), default=None)
        outlook = look_ahead(self.config, shape, self.loading, longest)
        if policy and rows:
            machine, sequences = outlook.setup.machine, _sequences(self.settings)
            pace = timed_pace(policy.causal.config, shape, machine, self.config.lora, sequences)
            few, many = (_seconds(self.settings, pace, rows, cut) for cut in (False, True))
            self.say("time", _in_words(few, many, self.settings))
        self._check_disk(shape)
        if self.verb == SFT:
            self.say("memory", "not planned for sft; `edgetool train --dry-run` plans GRPO's")
            return
        on = outlook.setup.machine.device
        free = f"{outlook.free_mb:,.0f} MiB free" if outlook.free_mb else "free memory not known"
        self.say("memory", f"on {on}: {outlook.plan.total_mb:,} MiB planned, {free}")
        self.console.print(table_of(outlook.plan))
        with self.collecting():
            if warning := check_memory(outlook):
                self.warnings.append(warning)

    def _check_disk(self, shape: Shape) -> None:
        """Room for the newest checkpoints, the one being written, and the adapter."""
        moments = 2 if self.settings.optim == "adamw_torch" else 0.5
        adapter = 4 * adapter_parameters(shape, self.config.lora) / MIB
        needed = (KEPT + 1) * adapter * (1 + moments) + adapter
        folder = Path(self.config.output_dir).absolute()
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(there).free / MIB
        self.say("disk", f"{needed:,.0f} MiB for checkpoints and the adapter, {free:,.0f} MiB free")
        if free < needed:
            self.fail(
                f"{there}: {needed:,.0f} MiB are needed and {free:,.0f} MiB free; free some "
                "space, or name another place with --set output_dir=FOLDER"
            )

    def show(self, policy: Policy, row: SupervisedRow) -> None:
        """One prompt and the completion that is asked for, as the model sees them."""
        tokens = policy.tokenizer.decode(list(row.prompt), skip_special_tokens=False)
        target = policy.tokenizer.decode(list(row.completion), skip_special_tokens=False)
        more = f"\n... {len(tokens) - SHOWN} characters more" if len(tokens) > SHOWN else ""
        self.console.print(Text(f"\nrow {row.example.id}, the prompt:\n{tokens[:SHOWN]}{more}"))
        self.console.print(Text(f"\nits target:\n{target}\n"))

    def end(self) -> None:
        for warning in self.warnings:
            self.console.print(Text(f"warning: {warning}"), soft_wrap=True)
        if not self.problems:
            self.console.print("nothing stands in the way")
            return
        distinct = {str(problem): problem for problem in self.problems}
        if len(distinct) == 1:
            raise self.problems[0]
        text = "\n".join(distinct)
        usage = any(isinstance(problem, UsageError) for problem in self.problems)
        raise (UsageError if usage else EdgetoolError)(text)


def _problems(count: int) -> str:
    return "1 problem is" if count == 1 else f"{count} problems are"


def _percentiles(lengths: Sequence[int]) -> str:
    ordered = sorted(lengths)
    middle, high = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return f"p50 {middle}, p95 {high}, max {ordered[-1]}"


def _names(rows: Sequence[SupervisedRow]) -> str:
    shown = ", ".join(row.example.id for row in rows[:NAMED])
    return shown + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def _rows_a_step(settings: StepSettings) -> int:
    if isinstance(settings, GRPOSettings):
        return settings.prompts_per_step * settings.gradient_accumulation_steps
    assert isinstance(settings, SFTSettings)
    return settings.per_device_train_batch_size * settings.gradient_accumulation_steps


def _sequences(settings: StepSettings) -> int:
    """Completions that are decoded together."""
    if isinstance(settings, GRPOSettings):
        return settings.prompts_per_step * settings.num_generations
    return 1


def _seconds(settings: StepSettings, pace: Pace, rows: Sequence[SupervisedRow], cut: bool) -> float:
    """Seconds of a step, its completions as long as the targets or, `cut`, as long as allowed."""
    prompt = sum(len(row.prompt) for row in rows) / len(rows)
    target = sum(len(row.completion) for row in rows) / len(rows)
    if not isinstance(settings, GRPOSettings):
        size = _rows_a_step(settings)
        work = Work(size, size, prompt, target, recomputed=settings.gradient_checkpointing)
        return learning_seconds(pace, work)
    work = Work(
        settings.prompts_per_step,
        _sequences(settings),
        prompt,
        settings.max_completion_length if cut else target,
        settings.num_iterations,
        settings.gradient_checkpointing,
    )
    seconds = rollout_seconds(pace, work) + learning_seconds(pace, work)
    return settings.gradient_accumulation_steps * seconds


def _in_words(few: float, many: float, settings: StepSettings) -> str:
    how = "a rough model: one layer of its shape, timed here just now"
    run = f"the run {duration(few * settings.max_steps)}"
    if not isinstance(settings, GRPOSettings):
        return f"a step {few:.2g} s, {run} ({how})"
    longest = duration(many * settings.max_steps)
    return (
        f"a step {few:.2g} s, {run} with completions as long as the targets; a step {many:.2g} s, "
        f"the run {longest} if all reach max_completion_length ({how})"
    )
