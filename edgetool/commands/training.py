"""What `edgetool train` and `edgetool sft` share: a run from its first check to its last line."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from edgetool.activity import duration
from edgetool.adapter_config import WEIGHTS
from edgetool.calls.prompt.thinking import describe
from edgetool.catalogue import locate, require_trainable
from edgetool.commands.chat_template import say_left_out, say_template
from edgetool.commands.plan import Comparison, check_memory, look_ahead
from edgetool.config import Config
from edgetool.data import sources
from edgetool.errors import ModelError, UsageError
from edgetool.export.plan import check_exportable
from edgetool.files import sweep, writing
from edgetool.run_folder import SFT, TEMPLATE, RunFolder, loading_of
from edgetool.system import tune
from edgetool.train import unsloth
from edgetool.train.adapter import find_adapter, start_from
from edgetool.train.checkpoint import newest
from edgetool.train.distributed import joined
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.loop import AnyReport, OnStep, TrainResult, require_fresh
from edgetool.train.memory.device import shape_of
from edgetool.train.policy import Policy
from edgetool.train.progress import Panel
from edgetool.train.run_lock import RunLock


def adapter_to_start_from(
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
    own = run.init_adapter
    if given and not (own and _same_weights(own, find_adapter(given))):
        began = run.facts["init_adapter"] if own else "a new adapter"
        raise UsageError(
            f"--init-adapter {given}: {folder} began with {began}; leave the option out to go on "
            f"with it, or {elsewhere}"
        )
    return own


def _same_weights(one: Path, other: Path) -> bool:
    return filecmp.cmp(one / WEIGHTS, other / WEIGHTS, shallow=False)


def run_method(
    config: Config,
    verb: str,
    method: Callable[..., TrainResult],
    panel: Panel,
    *,
    resume: bool,
    init_adapter: Path | None = None,
) -> TrainResult:
    """Check everything that can be checked cheaply, then load the model and train.

    Under torchrun every rank does this, and the first one speaks and writes.
    """
    run = RunFolder(Path(config.output_dir))
    with RunLock(run.path, panel.note):
        start = adapter_to_start_from(config, verb, resume, init_adapter)
        tune()
        require_trainable(config.model)
        if config.backend == "unsloth":
            unsloth.require()  # before anything it patches is imported
        template = (run.kept_template if resume else None) or config.template
        base = str(check_exportable(locate(config.model), template))
        examples = sources.load_for_training(config.data.train, config.data.train_rows)
        with joined() as ranks:
            panel.console.quiet = not ranks.first
            settings = config.sft if verb == SFT else config.grpo
            device = ranks.device if ranks.size > 1 else None
            loading = loading_of(config, settings, template, device)
            on_step = panel.show if verb == SFT else _watched(panel, config, base, loading)
            with panel:
                policy = _loaded(config, base, loading, panel, start)
                if ranks.first:
                    _create(config, base, policy, verb, start)
                with _saying_how_to_go_on(run, verb, panel.note):
                    result = method(
                        policy, examples, output_dir=run.path, resume=resume, on_step=on_step,
                        on_note=panel.note, ranks=ranks, activity=panel.activity,
                    )  # fmt: skip
        if ranks.first:
            say_how_it_ended(result, run, panel.console)
        return result


def _create(config: Config, base: str, policy: Policy, verb: str, start: Path | None) -> None:
    """The run's folder, where training may now write."""
    output_dir, template = Path(config.output_dir), policy.prompter.template
    with writing(output_dir, "--set output_dir=FOLDER"):
        sweep(output_dir, "config.yaml", "run.json", "init_adapter", TEMPLATE)
        RunFolder.create(config, base, policy_dtype(policy), verb, start, template=template)


def _loaded(
    config: Config, base: str, loading: LoadSettings, panel: Panel, start: Path | None
) -> Policy:
    """The policy with the adapter it begins with; what was chosen for it is said."""
    panel.activity.begin(f"loading {config.model}")
    load = unsloth.load_policy if config.backend == "unsloth" else load_policy
    policy = load(base, config.lora, loading)
    prompter = policy.prompter
    say_template(prompter.choice, panel.console)
    say_left_out(Path(base), panel.console)
    panel.note(f"call syntax: {describe(prompter.syntax, prompter.template)}")
    if start:
        _require_base(start, base)
        start_from(policy, start, panel.note)
        if note := _of_another_template(start, prompter.template):
            panel.note(note)
    return policy


def _require_base(adapter: Path, base: str) -> None:
    """Raises ModelError where an adapter's run, or this one when it goes on, had another file."""
    if (run := RunFolder.around(adapter)) is not None:
        run.require_base(base)


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
        checkpoint = newest(run.path / "checkpoints")
        say(
            f"ended at once; go on after {checkpoint} with: {run.resume_command}"
            if checkpoint
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


def policy_dtype(policy: Policy) -> str:
    """The dtype the policy computes in, by the name export knows it by."""
    return str(policy.causal.dtype).removeprefix("torch.")


# What each command is after, by the names of metrics.jsonl, and how it is written.
SHOWN = {
    SFT: {"loss": ("loss", "{:.4f}"), "mean_token_accuracy": ("token accuracy", "{:.1%}")},
    "train": {
        "reward": ("reward", "{:.3f}"),
        "exact": ("exact", "{:.0%}"),
        "right_tool": ("right tool", "{:.0%}"),
    },
}
# A step's reward hangs on the rows it drew: so many at either end are averaged, at most a third.
AVERAGED = 10


def say_how_it_ended(result: TrainResult, run: RunFolder, console: Console) -> None:
    """Lines for a run that is done, or that was stopped and saved."""

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    rows = run.metrics()
    if result.interrupted:
        say(f"stopped after step {result.steps} and saved; go on with: {run.resume_command}")
        return
    every_step = len(rows) == result.steps
    spent = f" in {duration(sum(row['step_time'] for row in rows))}" if every_step else ""
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'}"
    say(f"trained {steps}{spent}{_course(rows, run.verb)}")
    say(f"written: {run.path}/adapter, with metrics.jsonl and config.yaml beside it")
    say(f"held-out rows are not measured yet: edgetool eval {run.path} --base")
    say(f"next: edgetool export {run.path} --gguf")
    if run.verb == SFT:
        say(
            f"or go on with GRPO: edgetool train --config {run.path}/config.yaml --init-adapter "
            f"{run.path} --set output_dir={run.path}-grpo"
        )


def _course(rows: Sequence[Mapping[str, Any]], verb: str) -> str:
    """': reward 0.412 -> 0.655, ... (means of the first and the last 6 logged steps)'."""
    size = min(AVERAGED, len(rows) // 3)
    if not size:
        return ""
    parts = [
        f"{name} {form.format(_mean(rows[:size], key))} -> {form.format(_mean(rows[-size:], key))}"
        for key, (name, form) in SHOWN[verb].items()
    ]
    which = "the first and the last logged step"
    if size > 1:
        which = f"means of the first and the last {size} logged steps"
    return f": {', '.join(parts)} ({which})"


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))
