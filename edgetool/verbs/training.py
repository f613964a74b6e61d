"""`edgetool train` and `edgetool sft`."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from edgetool.adapter_config import WEIGHTS
from edgetool.calls.prompt.thinking import describe
from edgetool.calls.types import Example
from edgetool.catalogue import locate, require_trainable
from edgetool.config import Config
from edgetool.data import sources
from edgetool.errors import ModelError, UsageError
from edgetool.export.plan import check_exportable
from edgetool.files import sweep, writing
from edgetool.run_folder import SFT, TEMPLATE, TRAIN, RunFolder, loading_of
from edgetool.system import tune
from edgetool.train import unsloth
from edgetool.train.adapter import find_adapter, start_from
from edgetool.train.checkpoint import newest
from edgetool.train.distributed import joined
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.loop import AnyReport, OnStep, TrainResult, require_fresh, train
from edgetool.train.memory.device import shape_of
from edgetool.train.policy import Policy
from edgetool.train.progress import SFT_VIEW, Panel
from edgetool.train.run_lock import RunLock
from edgetool.train.settings import GRPOSettings, StepSettings
from edgetool.train.sft import fine_tune
from edgetool.verbs.planning import (
    Comparison,
    check_memory,
    look_ahead,
)
from edgetool.verbs.prompting import say_left_out, say_template
from edgetool.verbs.rewarding import weighted_rewards
from edgetool.verbs.run_end import say_how_it_ended


def run_training(
    config: Config, console: Console, *, resume: bool = False, init_adapter: Path | None = None
) -> TrainResult:
    """GRPO, from a new adapter or from the one in `init_adapter`, a run or adapter folder."""
    weighted = weighted_rewards(config.rewards)

    def method(policy: Policy, examples: Sequence[Example], **options: Any) -> TrainResult:
        return train(policy, examples, weighted, config.grpo, **options)

    panel = Panel(console, config.grpo.logging_steps)
    with RunLock(Path(config.output_dir), panel.note):
        start = _adapter_to_start_from(config, TRAIN, resume, init_adapter)
        return _run(config, TRAIN, config.grpo, method, panel, resume, start)


def run_sft(config: Config, console: Console, *, resume: bool = False) -> TrainResult:
    """Supervised fine-tuning of a new adapter."""

    def method(policy: Policy, examples: Sequence[Example], **options: Any) -> TrainResult:
        return fine_tune(policy, examples, config.sft, **options)

    panel = Panel(console, config.sft.logging_steps, SFT_VIEW)
    with RunLock(Path(config.output_dir), panel.note):
        start = _adapter_to_start_from(config, SFT, resume, None)
        return _run(config, SFT, config.sft, method, panel, resume, start)


def _adapter_to_start_from(
    config: Config, verb: str, resume: bool, given: Path | None
) -> Path | None:
    """The folder of the adapter a run begins with; for one that goes on, its own copy.

    Raises UsageError when there is none at `given`, and when the output folder holds another run.
    """
    folder = Path(config.output_dir)
    if not resume:
        require_fresh(folder)
    if not resume or not (folder / "run.json").is_file():
        return find_adapter(given) if given else None
    run = RunFolder.open(folder)
    elsewhere = "choose another output folder with --set output_dir=FOLDER"
    if run.verb != verb:
        raise UsageError(
            f"{folder} was made by `edgetool {run.verb}`, and `edgetool {verb}` cannot go on with "
            f"it; type `{run.resume_command}`, or {elsewhere}"
        )
    kept = run.init_adapter
    if given and not (kept and _same_weights(kept, find_adapter(given))):
        began = run.facts["init_adapter"] if kept else "a new adapter"
        raise UsageError(
            f"--init-adapter {given}: {folder} began with {began}; leave the option out to go on "
            f"with it, or {elsewhere}"
        )
    return kept


def _same_weights(one: Path, other: Path) -> bool:
    return filecmp.cmp(one / WEIGHTS, other / WEIGHTS, shallow=False)


def _run(
    config: Config,
    verb: str,
    settings: StepSettings,
    method: Callable[..., TrainResult],
    panel: Panel,
    resume: bool,
    start: Path | None,
) -> TrainResult:
    """Check everything that can be checked cheaply, then load the model and train.

    Under torchrun every rank does this, and the first one speaks and writes.
    """
    tune()
    require_trainable(config.model)
    if config.backend == "unsloth":
        unsloth.require()  # before anything it patches is imported
    kept = RunFolder(Path(config.output_dir)).kept_template if resume else None
    template = kept or config.template
    base = str(check_exportable(locate(config.model), template))
    examples = sources.load_for_training(config.data.train, config.data.train_rows)
    output_dir, console = Path(config.output_dir), panel.console
    with joined() as ranks:
        console.quiet = not ranks.first
        device = ranks.device if ranks.size > 1 else None
        loading = loading_of(config, settings, template, device)
        on_step: OnStep = panel.show
        if isinstance(settings, GRPOSettings):
            on_step = _watched(panel, config, base, loading)
        with panel:
            panel.activity.begin(f"loading {config.model}")
            policy = _load(config, base, loading)
            prompter = policy.prompter
            say_template(prompter.choice, console)
            say_left_out(Path(base), console)
            panel.note(f"call syntax: {describe(prompter.syntax, prompter.template)}")
            if start:
                start_from(policy, start, panel.note)
                if said := _of_another_template(start, prompter.template):
                    panel.note(said)
            if ranks.first:
                with writing(output_dir, "--set output_dir=FOLDER"):
                    sweep(output_dir, "config.yaml", "run.json", "init_adapter", TEMPLATE)
                    RunFolder.create(
                        config, base, policy_dtype(policy), verb, start, template=prompter.template
                    )
            with _saying_how_to_go_on(RunFolder(output_dir), verb, panel.note):
                result = method(
                    policy,
                    examples,
                    output_dir=output_dir,
                    resume=resume,
                    on_step=on_step,
                    on_note=panel.note,
                    ranks=ranks,
                    activity=panel.activity,
                )
    if ranks.first:
        say_how_it_ended(result, RunFolder(output_dir), console)
    return result


def _of_another_template(adapter: Path, template: str) -> str | None:
    """What to say of an adapter whose run had another chat template than this one."""
    its = RunFolder(adapter.parent).kept_template
    if its is None or Path(its).read_text(encoding="utf-8") == template:
        return None
    return f"{adapter} was trained with another chat template; to go on with it: --template {its}"


@contextmanager
def _saying_how_to_go_on(run: RunFolder, verb: str, say: Callable[[str], None]) -> Iterator[None]:
    """Whoever ends a run at once learns what there is to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        kept = newest(run.path / "checkpoints")
        say(
            f"ended at once; go on after {kept} with: {run.resume_command}"
            if kept
            else f"ended at once, before anything was saved; `edgetool {verb}` starts again"
        )
        raise


def _watched(panel: Panel, config: Config, base: str, loading: LoadSettings) -> OnStep:
    """Warn when memory looks too small, and after some steps say how the plan has done.

    A model whose sizes nobody knows trains without a plan.
    """
    try:
        outlook = look_ahead(config, shape_of(base), loading)
    except ModelError as error:
        panel.note(f"memory is not planned: {error}")
        return panel.show
    if warning := check_memory(outlook):
        panel.note(warning)
    comparison = Comparison(outlook)

    def on_step(report: AnyReport) -> None:
        panel.show(report)
        if line := comparison.line(report.metrics):
            panel.note(line)

    return on_step


def _load(config: Config, base: str, loading: LoadSettings) -> Policy:
    if config.backend == "unsloth":
        return unsloth.load_policy(base, config.lora, loading)
    return load_policy(base, config.lora, loading)


def policy_dtype(policy: Policy) -> str:
    """The dtype the policy computes in, by the name export knows it by."""
    return str(policy.causal.dtype).removeprefix("torch.")
