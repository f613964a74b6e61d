"""What training is told: tools and rewards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgetool.commands.common import console, group

tools = group("Look after a list of tools.")
rewards = group("Reward functions: list them, try them.")


@tools.command("lint")
def lint_tools(
    path: Annotated[Path, typer.Argument(metavar="TOOLS", help="JSON, or a Python file.")],
    syntax: Annotated[
        str | None, typer.Option(help="Compile its grammars only; of all call syntaxes by default.")
    ] = None,
) -> None:
    """Name what small models or grammars will stumble over.

    Exit code 0 when nothing was found, 1 otherwise. What grammars leave open is a note.
    """
    from edgetool.verbs.tools import run_lint

    if not run_lint(path, syntax):
        raise typer.Exit(1)


@rewards.command("list")
def reward_list() -> None:
    """Every reward that a configuration can name."""
    from edgetool.verbs.rewarding import list_rewards

    list_rewards(console())


@rewards.command("try")
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
    from edgetool.verbs.rewarding import try_rewards

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
