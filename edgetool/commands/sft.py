"""Warm start: train an adapter on the rows' own calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgetool.commands import common
from edgetool.commands.common import (
    ConfigOption,
    ResumeOption,
    SetOption,
    TemplateOption,
    group,
    loading,
    with_template,
)
from edgetool.commands.train_options import (
    ConfigOptions,
    DataOption,
    DryRunOption,
    ModelOption,
    SeedOption,
    train_or_check,
)
from edgetool.run_folder import SFT

if TYPE_CHECKING:
    from rich.console import Console

    from edgetool.calls.types import Example
    from edgetool.config import Config
    from edgetool.train.loop import TrainResult
    from edgetool.train.policy import Policy

app = group()


@app.command(help=__doc__)
def sft(
    config: ConfigOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
    template: TemplateOption = None,
    dry_run: DryRunOption = False,
) -> None:
    def start(resolved: Config) -> TrainResult:
        return run_sft(resolved, resume=resume)

    options = ConfigOptions(config, with_template(set_, template), model, data, seed)
    train_or_check(SFT, options, start, dry_run=dry_run, resume=resume)


def run_sft(config: Config, console: Console | None = None, *, resume: bool = False) -> TrainResult:
    """Supervised fine-tuning of a new adapter.

    console   where lines and the panel go; None: the terminal or log that standard output is
    """
    shown = console or common.console()
    with loading(shown):
        from edgetool.commands.training import run_method
        from edgetool.train.progress import SFT_VIEW, Panel
        from edgetool.train.sft import fine_tune

    def method(policy: Policy, examples: Sequence[Example], **options: Any) -> TrainResult:
        return fine_tune(policy, examples, config.sft, **options)

    panel = Panel(shown, config.sft.logging_steps, SFT_VIEW)
    return run_method(config, SFT, method, panel, resume=resume)
