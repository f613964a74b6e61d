"""Train an adapter with GRPO on a 4-bit base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    DataOption,
    DryRunOption,
    ModelOption,
    SeedOption,
    Told,
    configured,
    interruptible,
)

if TYPE_CHECKING:
    from rich.console import Console

    from edgetool.calls.types import Example
    from edgetool.config import Config
    from edgetool.train.engines import RolloutEngine
    from edgetool.train.loop import TrainResult
    from edgetool.train.policy import Policy

app = group()


@app.command(help=__doc__)
def train(
    config: ConfigOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
    init_adapter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Start from this run's adapter, or this adapter."),
    ] = None,
    template: TemplateOption = None,
    dry_run: DryRunOption = False,
) -> None:
    told = Told(config, with_template(set_, template), model, data, seed)
    resolved = configured("train", told, common.console())
    if dry_run:
        with loading():
            from edgetool.commands.dry_run import run_dry

        run_dry(resolved, common.console(), init_adapter=init_adapter, resume=resume)
        return
    with interruptible():
        if run_training(resolved, resume=resume, init_adapter=init_adapter).interrupted:
            raise KeyboardInterrupt


def run_training(
    config: Config,
    console: Console | None = None,
    *,
    resume: bool = False,
    init_adapter: Path | None = None,
) -> TrainResult:
    """GRPO, from a new adapter or from the one in `init_adapter`, a run or adapter folder.

    console   where lines and the panel go; None: the terminal or log that standard output is
    """
    shown = console or common.console()
    with loading(shown):
        from edgetool.commands.reward import weighted_rewards
        from edgetool.commands.training import adapter_to_start_from, run_method
        from edgetool.run_folder import TRAIN, RunFolder
        from edgetool.train.engines import Rollouts, open_engine
        from edgetool.train.loop import train as grpo
        from edgetool.train.progress import Panel
        from edgetool.train.run_lock import RunLock

    weighted = weighted_rewards(config.rewards)

    def method(policy: Policy, examples: Sequence[Example], **options: Any) -> TrainResult:
        def opened(policy: Policy, tokens: int, completions: int) -> RolloutEngine:
            folder = Path(config.output_dir)
            template = RunFolder(folder).kept_template or config.template
            rollouts = Rollouts(folder, tokens, completions, config.load_in_4bit, template)
            panel.activity.begin(f"opening the rollout engine '{config.rollout.engine}'")
            engine = open_engine(policy, config.rollout, rollouts, options["ranks"])
            if engine.about:
                panel.note(engine.about)
            return engine

        return grpo(policy, examples, weighted, config.grpo, open_engine=opened, **options)

    panel = Panel(shown, config.grpo.logging_steps)
    with RunLock(Path(config.output_dir), panel.note):
        start = adapter_to_start_from(config, TRAIN, resume, init_adapter)
        return run_method(config, TRAIN, config.grpo, method, panel, resume, start)
