"""The options of `edgetool train` and `edgetool sft`, and the configuration they make."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgetool.catalogue import NANO
from edgetool.commands.common import console, loading
from edgetool.commands.init import DEMO_REWARDS
from edgetool.config import Config, build_config, override_values, read_values
from edgetool.data.held_out import hold_out
from edgetool.data.sources import DEMO
from edgetool.errors import UsageError
from edgetool.run_folder import SFT

if TYPE_CHECKING:
    from edgetool.train.loop import TrainResult

RUNS = "runs"
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended

ModelOption = Annotated[
    str | None, typer.Option(help="Base model, with --config or without; nano by default.")
]
DataOption = Annotated[
    str | None, typer.Option(metavar="JSONL", help="Rows to train on, with --config or without.")
]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", help="Of the adapter, row order, sampling, dropout.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything that needs no training, and stop.")
]


InitAdapterOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Start from this run's adapter, or this adapter."),
]


@dataclass(frozen=True)
class ConfigOptions:
    """The options of the command line that make a configuration.

    config      a YAML file
    overrides   key=value of --set, which come last
    model, data, seed   None: not given
    """

    config: Path | None = None
    overrides: Sequence[str] = ()
    model: str | None = None
    data: str | None = None
    seed: int | None = None


def train_or_check(
    verb: str,
    options: ConfigOptions,
    train: Callable[[Config], TrainResult],
    *,
    dry_run: bool,
    resume: bool,
    init_adapter: Path | None = None,
) -> None:
    """Train as `train` does, or only check. Ctrl-C ends it with a shell's exit code for it."""
    config = configured(verb, options, console())
    if dry_run:
        with loading():
            from edgetool.commands.dry_run import run_dry

        run_dry(config, console(), verb, init_adapter=init_adapter, resume=resume)
        return
    try:
        interrupted = train(config).interrupted
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def configured(verb: str, options: ConfigOptions, console: Console) -> Config:
    """The configuration of a run. What was not given and is not a plain default is said.

    Without a file, rows to measure on are held out of the user's own, see `hold_out`.

    Raises UsageError when nothing says what to train, and what `load_config` raises.
    """
    if options.config is None and options.model is None and options.data is None:
        raise UsageError(
            f"nothing says what to train: type `edgetool {verb} --config my.yaml`, or "
            f"`edgetool {verb} --model {NANO} --data rows.jsonl`; `edgetool init my.yaml` writes "
            "a configuration"
        )
    values: dict[str, Any] = {} if options.config is None else read_values(options.config)
    if options.model:
        values["model"] = options.model
    if options.data:
        _put(values, "data", "train", options.data)
    if options.seed is not None:
        _put(values, "sft" if verb == SFT else "grpo", "seed", options.seed)
    override_values(values, options.overrides)
    if options.config is None:
        _complete(verb, values, console)
    elif options.data:
        rows = values.get("data")
        held_out = rows.get("validation", DEMO) if isinstance(rows, dict) else rows
        note = f"--data replaces data.train; data.validation stays {held_out}"
        console.print(note, markup=False)
    return build_config(values, str(options.config or "command line"))


def _put(values: dict[str, Any], section: str, key: str, value: Any) -> None:
    inner = values.get(section) or {}
    if isinstance(inner, dict):  # what else it is, the check will say
        values[section] = {**inner, key: value}


def _complete(verb: str, values: dict[str, Any], console: Console) -> None:
    """What a file would have said: the model, rows to measure on, rewards and a folder."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "several processes need one configuration: type `edgetool init my.yaml`, and start "
            "them with --config my.yaml"
        )
    model = values.setdefault("model", NANO)
    rows = values.setdefault("data", {})
    data = rows.setdefault("train", DEMO) if isinstance(rows, dict) else DEMO
    values.setdefault("output_dir", f"{RUNS}/{_name(verb, str(model), str(data))}")
    if data == DEMO:
        values.setdefault("rewards", DEMO_REWARDS)
    elif "validation" not in rows:
        found = hold_out(str(data))
        rows["train"], rows["validation"] = found.train, found.validation
        console.print(found.sentence, markup=False)
    console.print(
        f"no --config: {model} on {data}, into {values['output_dir']}; its config.yaml will hold "
        "every setting",
        markup=False,
    )


def _name(verb: str, model: str, data: str) -> str:
    """A run's folder: nano-rows, and nano-rows-sft for a warm start."""
    parts = [Path(model).name, Path(data).name.partition(".")[0], *([SFT] if verb == SFT else [])]
    return "-".join(re.sub(r"[^\w.-]+", "_", part) for part in parts if part)
