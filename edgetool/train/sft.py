"""Warm start: supervised fine-tuning of the adapter on the rows' own completions.

    calls                the call syntax's own rendering; of several accepted values the row's first
    no calls             the row's own words, else no_call_text, else what the syntax has for it
    either way behind    the stop token that the chat template puts behind such a turn

    loss = - sum over all T completion tokens of the step: log p(token | prompt, tokens before) / T

Prompts carry no loss. The mean is over the whole step, so its gradient is the same whatever the
micro-batches, and however many processes share them. What is trained on is what is paid for:
the judge of the rewards must find every completion right.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgetool.activity import Activity
from edgetool.calls import syntaxes
from edgetool.calls.judge.match import judge_example
from edgetool.calls.prompt.thinking import plain_syntax
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Example
from edgetool.errors import ConfigError, DataError
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.gradient import (
    add_gradient,
    learning,
    micro_batches_of,
    optimizer_step,
    packed,
    seeded_dropout,
)
from edgetool.train.load import marker_ids
from edgetool.train.loop import OnStep, TrainResult, run_steps
from edgetool.train.metrics import memory_metrics
from edgetool.train.oom import MicroBatchSplitter
from edgetool.train.packing import Group
from edgetool.train.partial_step import PartialStep
from edgetool.train.policy import Policy
from edgetool.train.rows import Row, Rows, digest, set_aside, visited
from edgetool.train.settings import NO_CALL_TEXT, SFTSettings
from edgetool.train.update import completion_logps, entropies, make_optimizer, set_learning_rate


def fine_tune(
    policy: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    output_dir: Path,
    *,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
    activity: Activity | None = None,
) -> TrainResult:
    """Train the policy's adapter on the rows' completions and leave it in `output_dir`/adapter.

    Arguments and promises are those of `loop.train`; a stop waits for the end of the step at hand.

    Raises UsageError when the folder holds a run already, ConfigError when a resumed run's settings
    differ, and what `prepare_supervised` raises.
    """
    say = on_note if on_note and ranks.first else lambda _: None
    activity = activity or Activity()
    rows = prepare_supervised(policy, examples, settings, activity)
    if note := rows.note():
        say(note)
    stepper = SFTStepper(policy, rows.rows, settings, say, ranks, activity)
    return run_steps(stepper, rows, output_dir, resume=resume, on_step=on_step, on_note=say)


@dataclass(frozen=True)
class SFTReport:
    """What came out of a step: its number from 1, a metrics row, and the rows it was trained on."""

    step: int
    max_steps: int
    metrics: dict[str, float]
    rows: Sequence[SupervisedRow]


class SFTStepper:
    """Runs steps. All that changes between them: the adapter, the optimizer and `num_tokens`."""

    begun: PartialStep | None = None  # a step is one pass: there is no middle to go on from

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[SupervisedRow],
        settings: SFTSettings,
        on_note: Callable[[str], None] | None = None,
        ranks: Ranks = ALONE,
        activity: Activity | None = None,
    ) -> None:
        self.policy, self.rows, self.settings, self.ranks = policy, rows, settings, ranks
        self.activity = activity or Activity()
        self.optimizer = make_optimizer(policy, settings)
        self.splitter = MicroBatchSplitter(on_note, "sft", "max_length")
        self.num_tokens = 0

    def identity(self) -> dict[str, Any]:
        """What beside the settings makes a resumed run the same run."""
        return {"rows": digest(self.rows), "processes": self.ranks.size}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing else that changes."""

    def run(self, step: int, stop_wanted: Callable[[], bool] = lambda: False) -> SFTReport:
        """Step 0, 1, ..."""
        started, settings = time.perf_counter(), self.settings
        size = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        size *= self.ranks.size
        rows = [self.rows[i] for i in visited(step, len(self.rows), size, settings.seed)]
        groups = grouped(rows)
        rate = set_learning_rate(self.optimizer, step, settings)
        with seeded_dropout(self.policy, settings.seed, step, "dropout"):
            trained = self._update(groups, step + 1)
        read = sum(len(group.prompt) + sum(map(len, group.completions)) for group in groups)
        self.num_tokens += read
        seconds = time.perf_counter() - started
        metrics = {
            "step": step + 1,
            **trained,
            "learning_rate": rate,
            "num_tokens": self.num_tokens,
            "step_time": seconds,
            "tokens_per_second": read / seconds,
            **memory_metrics(),
        }
        return SFTReport(step + 1, settings.max_steps, metrics, rows)

    def _update(self, groups: Sequence[Group], number: int) -> dict[str, float]:
        """One optimizer step on all completions, and what is to be said of it."""
        policy, ranks = self.policy, self.ranks
        tokens = sum(len(ids) for group in groups for ids in group.completions)
        sums = torch.zeros(3, dtype=torch.float64)  # loss, entropy, tokens right

        def accumulate(part: list[Group]) -> None:
            batch = packed(policy, part)
            logps, seen = completion_logps(policy.network, batch, 1.0, entropy_and_right)
            loss = -logps.sum() / tokens
            add_gradient(policy, loss)
            sums.add_(torch.tensor([float(loss.detach()), *seen.sum(dim=0).tolist()]))

        with learning(policy, self.optimizer):
            parts = micro_batches_of(policy, groups, self.settings, ranks)
            for part in self.activity.over(parts, f"step {number}: learning", "pass"):
                self.splitter.fit(part, accumulate)
            norm = optimizer_step(policy, self.optimizer, self.settings, ranks)
        loss, entropy, right = ranks.sum(sums).tolist()
        applied = math.isfinite(norm)
        return {
            "loss": loss if math.isfinite(loss) else 0.0,
            "grad_norm": norm if applied else 0.0,
            "skipped_updates": int(not applied),
            "mean_token_accuracy": right / tokens,
            "entropy": entropy / tokens,
        }


def grouped(rows: Sequence[SupervisedRow]) -> list[Group]:
    """Rows of the same prompt share it."""
    places: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault(row.prompt, []).append(number)
    return [
        Group(prompt, [rows[number].completion for number in numbers], numbers)
        for prompt, numbers in places.items()
    ]


def entropy_and_right(logps: Tensor, targets: Tensor) -> Tensor:
    """float32 [t, 2]: entropy in nats, and 1 where the target is the most probable token."""
    right = logps.argmax(dim=-1) == targets
    return torch.stack([entropies(logps, targets), right.float()], dim=-1)


@dataclass(frozen=True)
class SupervisedRow(Row):
    """An example, its prompt [P] and its completion [C], the stop token included."""

    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    def identity(self) -> list[Any]:
        return [*super().identity(), self.completion]


def prepare_supervised(
    policy: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    activity: Activity | None = None,
) -> Rows[SupervisedRow]:
    """Render and tokenize every prompt and completion; set aside those that are too long.

    Raises PromptTooLong and DataError as `prepare_rows` does, ConfigError when `no_call_text` is no
    way to make no call, and DataError naming rows whose completion the judge would not find right.
    """
    rows = supervised_rows(policy, examples, settings, activity)
    if problems := wrong_targets(policy, rows):
        raise DataError(problems)
    limit = min(policy.context_length, settings.max_length or policy.context_length)
    what = "prompts with their completions"
    return set_aside(rows, limit, settings, what=what, key="max_length")


def supervised_rows(
    policy: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    activity: Activity | None = None,
) -> list[SupervisedRow]:
    """Every row with its completion, whatever their lengths. Raises ConfigError as above."""
    no_call = no_call_text(policy.prompter.syntax, settings)
    stops = {calls: closing_id(policy, calls=calls) for calls in (True, False)}
    taken = (activity or Activity()).over(examples, "reading rows", "row")
    return [_row(policy, example, no_call, stops[bool(example.calls)]) for example in taken]


def no_call_text(syntax: CallSyntax, settings: SFTSettings) -> str:
    """The completion of a row that expects no call and has no words of its own."""
    if settings.no_call_text is None:
        own = syntax.render(())
        return own if makes_no_call(syntax, own) else NO_CALL_TEXT
    if not makes_no_call(syntax, settings.no_call_text):
        raise ConfigError(
            f"sft.no_call_text = '{settings.no_call_text}': in call syntax '{syntax.NAME}' this "
            "text does not read back as an answer without a call; leave it out"
        )
    return settings.no_call_text


def makes_no_call(syntax: CallSyntax, text: str) -> bool:
    return syntaxes.read(plain_syntax(syntax), text, finished=True).strict_calls == ()


def closing_id(policy: Policy, *, calls: bool) -> int:
    """The stop token the chat template ends a turn of the assistant with.

    calls   the turn makes calls: FunctionGemma's template ends such a turn with another token

    Where the template writes none it is the tokenizer's own, as nothing else would end a
    completion.
    """
    ids = marker_ids(policy.tokenizer)
    for closing in policy.prompter.turn_ends().of(calls=calls):
        if ids.get(closing) in policy.stop_ids:
            return ids[closing]
    own = policy.tokenizer.eos_token_id
    return own if own in policy.stop_ids else policy.stop_ids[0]


def _row(policy: Policy, example: Example, no_call: str, stop: int) -> SupervisedRow:
    prompter = policy.prompter
    prompt = prompter.ids(example.messages, example.tools)
    said = example.completion
    if said is None or not makes_no_call(prompter.syntax, said):
        said = no_call
    completion = prompter.completion_ids(example.calls or said)
    return SupervisedRow(example, tuple(prompt), (*completion, stop))


def wrong_targets(policy: Policy, rows: Sequence[SupervisedRow]) -> list[str]:
    """A line for each row whose tokens do not read as what the row expects."""
    problems = []
    for row, text in zip(rows, policy.decode([row.completion for row in rows]), strict=True):
        parsed = syntaxes.read(policy.prompter.syntax, text, row.example.tools, finished=True)
        if not judge_example(parsed, row.example).exact:
            problems.append(
                f"row '{row.example.id}': {text!r} is not read back as the calls the row expects "
                f"({parsed.problem or 'other calls'}); mend or remove the row"
            )
    return problems
