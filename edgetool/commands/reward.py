"""Reward functions: list them, try them."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgetool import rewards
from edgetool.calls import syntaxes
from edgetool.calls.json_text import dumps
from edgetool.calls.judge.mistakes import explain
from edgetool.calls.prompt.thinking import behind_a_thought
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Example, ToolCall
from edgetool.commands.chat_template import look_at_template
from edgetool.commands.common import console, group
from edgetool.config import Config, load_config
from edgetool.data import sources
from edgetool.errors import UsageError
from edgetool.rewards.named import takes_batches
from edgetool.rewards.schedule import Schedule
from edgetool.rewards.scoring import Scored, WeightedReward, score
from edgetool.terminal import printable
from edgetool.train.settings import RewardSettings

app = group(__doc__)


@app.command("list")
def reward_list() -> None:
    """Every reward that a configuration can name."""
    list_rewards(console())


@app.command("try")
def reward_try(
    completion: Annotated[str, typer.Option(help="What a model might write; - reads stdin.")],
    data: Annotated[
        str | None, typer.Option(help="demo, rows.jsonl, ...; the configuration's by default.")
    ] = None,
    row: Annotated[str | None, typer.Option(metavar="ID", help="The first row by default.")] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="YAML", help="Its rewards.")] = None,
    call_syntax: Annotated[str | None, typer.Option(help="hermes, json, ...")] = None,
) -> None:
    """Score a completion for one row: every component, and what the judge says.

    Exit code 1 when a reward function failed.
    """
    if completion == "-":
        completion = sys.stdin.buffer.read().decode(errors="replace")
    scored = try_rewards(
        data,
        completion,
        console(),
        row=row,
        names=reward or (),
        config=config,
        call_syntax=call_syntax,
    )
    if scored.fault:
        raise typer.Exit(1)


def weighted_rewards(settings: Mapping[str, RewardSettings]) -> list[WeightedReward]:
    """The functions a configuration names. A user's own goes by its name without the file.

    Raises UsageError for one that is not there, and for two of one name.
    """
    found = [
        WeightedReward(
            name.rpartition(":")[2],
            reward.weight,
            rewards.get(name),
            None if reward.until is None else Schedule(reward.until, reward.then, reward.window),
        )
        for name, reward in settings.items()
    ]
    names = [reward.name for reward in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"two rewards are called '{twice[0]}'; rename the function of one")
    return found


def list_rewards(console: Console) -> None:
    """A line for every reward that can be named."""
    table = Table("reward", "scores", "from", "what it pays for", box=None, pad_edge=False)
    for name in rewards.names():
        try:
            function = rewards.get(name)
        except UsageError as error:  # an installed package's, and broken
            table.add_row(name, "-", rewards.origin(name), Text(str(error)))
            continue
        each = "together" if takes_batches(function) else "one by one"
        summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
        table.add_row(name, each, rewards.origin(name), Text(summary))
    console.print(table)
    console.print("your own: path/to/file.py:function or package.module:function")


def try_rewards(
    data: str | None,
    completion: str,
    console: Console,
    *,
    row: str | None = None,
    names: Sequence[str] = (),
    config: Path | None = None,
    call_syntax: str | None = None,
) -> Scored:
    """Score one completion for one row and show how the score came about.

    data    where the row is; the configuration's validation rows without one
    row     the row's id; the first row without one
    call_syntax   None: the configuration's, or the one that reads most of the completion
    names   rewards to try; those of the configuration, or all that can be named, without any
    """
    settings = {name: RewardSettings() for name in names or rewards.names()}
    weighted, thinking = bool(names or config), False
    if config is not None:
        resolved = load_config(config)
        call_syntax = call_syntax or resolved.call_syntax or _taught_to(resolved, console)
        data, thinking = data or resolved.data.validation, resolved.thinking
        settings = {
            name: resolved.rewards.get(name, RewardSettings()) for name in names or resolved.rewards
        }
    if data is None:
        raise UsageError("no rows to take one from; name some with --data rows.jsonl, or demo")
    functions, example = weighted_rewards(settings), _row(data, row)
    syntax = syntaxes.get(call_syntax) if call_syntax else _syntax_of(completion)
    if thinking:
        syntax = behind_a_thought(syntax, completion)
    scored = score(completion, example, syntax, functions)
    _show_row(example, console)
    _line(
        console, f"read as  {syntax.NAME}: {_calls(syntax.parse(completion, example.tools).calls)}"
    )
    _line(console, f"judged   by the {example.rules} rules")
    for line in explain(scored.verdict.errors).splitlines():
        _line(console, f"         {line}")
    _show_scores(scored, functions, console, weighted=weighted)
    return scored


def _taught_to(config: Config, console: Console) -> str | None:
    """The call syntax of a configuration's model; None where the model is not here yet."""
    chosen = look_at_template(config.model, config.template, console)
    return syntaxes.detect(chosen.text).NAME if chosen else None


def _row(data: str, row_id: str | None) -> Example:
    examples = sources.load(data, "validation")
    found = [example for example in examples if row_id in (None, example.id)]
    if not found:
        ids = ", ".join(example.id for example in examples[:5])
        raise UsageError(f"{data} has no row '{row_id}'; its first: {ids}")
    return found[0]


def _syntax_of(completion: str) -> CallSyntax:
    """The syntax that reads most of a completion: calls and nothing else, calls, or none.

    Plain JSON where it does as well as another: Hammer's, for one, is the same with a fence.
    """
    known, plain = [syntaxes.get(name) for name in syntaxes.names()], syntaxes.detect("")

    def readable(syntax: CallSyntax) -> tuple[int, bool, bool]:
        parsed = syntax.parse(completion)
        return len(parsed.calls), parsed.problem is None, syntax is plain

    return max(known, key=readable)


def _show_row(example: Example, console: Console) -> None:
    asked = [m.get("content") or "" for m in example.messages if m["role"] == "user"]
    _line(console, f"row      {example.id}: {' '.join(asked[-1].split()) if asked else ''}")
    _line(console, f"expected {_calls(example.calls)}")


def _calls(calls: Sequence[ToolCall]) -> str:
    return ", ".join(f"{call.name}({dumps(call.arguments)})" for call in calls) or "no call"


def _show_scores(
    scored: Scored, functions: Sequence[WeightedReward], console: Console, *, weighted: bool
) -> None:
    """Every component; their sum too where somebody has said what each is to count for."""
    table = Table("reward", box=None, pad_edge=False)
    headings = ("score", "weight", "score x weight")
    for heading in headings if weighted else headings[:1]:
        table.add_column(heading, justify="right")
    for function, score_ in zip(functions, scored.scores, strict=True):
        cells = _number(score_), _number(function.weight), _number(score_ * function.weight)
        table.add_row(Text(function.name), *(cells if weighted else cells[:1]))
    if weighted:
        table.add_row("reward", "", "", _number(scored.reward))
    console.print(table)
    if scored.fault:
        _line(console, scored.fault)


def _number(value: float) -> str:
    """NaN: the function had nothing to say, or failed."""
    return "-" if math.isnan(value) else f"{value:g}"


def _line(console: Console, text: str) -> None:
    """Text as it is: no markup, and what would steer a terminal or cannot be shown replaced."""
    console.print(Text(printable(text, instead="�")))
