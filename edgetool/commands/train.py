"""Train an adapter with GRPO on a 4-bit base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
    InitAdapterOption,
    ModelOption,
    SeedOption,
    train_or_check,
)
from edgetool.run_folder import TRAIN, RunFolder

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
    init_adapter: InitAdapterOption = None,
    template: TemplateOption = None,
    dry_run: DryRunOption = False,
) -> None:
    def start(resolved: Config) -> TrainResult:
        return run_training(resolved, resume=resume, init_adapter=init_adapter)

    options = ConfigOptions(config, with_template(set_, template), model, data, seed)
    train_or_check(TRAIN, options, start, dry_run=dry_run, resume=resume, init_adapter=init_adapter)


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
        from edgetool.commands.training import run_method
        from edgetool.train.engines import Rollouts, open_engine
        from edgetool.train.loop import train as grpo
        from edgetool.train.progress import Panel

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
    return run_method(config, TRAIN, method, panel, resume=resume, init_adapter=init_adapter)
