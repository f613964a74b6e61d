"""Rows with the completion they ask for, token by token as the policy would have to write it.

    calls                the call syntax's own rendering; of several accepted values the row's first
    no calls             the row's own words, else no_call_text, else what the syntax has for it
    either way behind    the stop token that the chat template puts behind such a turn

What is trained on is what is paid for: the judge of the rewards must find every completion right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.activity import Activity
from edgetool.calls import syntaxes
from edgetool.calls.judge.match import judge_example
from edgetool.calls.prompt.thinking import plain_syntax
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Example
from edgetool.errors import ConfigError, DataError
from edgetool.train.policy import Policy
from edgetool.train.rows import Row, Rows, set_aside
from edgetool.train.settings import NO_CALL_TEXT, SFTSettings
from edgetool.train.tokenizer import marker_ids


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
            f"sft.no_call_text = '{settings.no_call_text}': in call syntax '{syntax.NAME}' this is "
            "no clean way to make no call; leave it out"
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
