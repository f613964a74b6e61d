"""Before and during training: a configuration, its price, the machine, the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edgetool.commands.common import (
    ConfigOption,
    JsonOption,
    ResumeOption,
    SetOption,
    TemplateOption,
    console,
    group,
    loading,
    with_template,
)

app = group()
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def init(
    out: Annotated[Path, typer.Argument(metavar="YAML", help="The file to write.")] = Path(
        "my.yaml"
    ),
    model: Annotated[
        str | None, typer.Option(help="A card's name, a folder or a hub id; nano by default.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Rows to train on; demo by default.")] = None,
    vram: Annotated[int, typer.Option(help="GiB of the GPU it is for.")] = 8,
    template: TemplateOption = None,
    recipe: Annotated[str | None, typer.Option(help="slm-tool-use: arXiv:2509.04518.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a configuration with comments."""
    from edgetool.verbs.starting import run_init

    run_init(
        out, console(), model=model, data=data, vram=vram, recipe=recipe, force=force,
        template=template,
    )  # fmt: skip


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show this one whole.")] = None,
    json_: JsonOption = False,
) -> None:
    """The base models that are known, and what each needs."""
    from edgetool.verbs.cataloguing import run_models

    run_models(name, console(), as_json=json_)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A card's name, a folder or a hub id.")],
    vram: Annotated[float, typer.Option(help="GiB of the GPU.")] = 8,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    """What training takes by part, and what fits a GPU."""
    with loading(quiet=json_):
        from edgetool.verbs.planning import run_plan

    run_plan(model, vram, console(), template=template, as_json=json_)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Option(help="Try this model's chat template.")] = None,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    """Look for what is missing here, and how to mend it."""
    from edgetool.verbs.doctor import run_doctor

    if not run_doctor(model, console(), template=template, as_json=json_):
        raise typer.Exit(1)


@app.command()
def config(
    key: Annotated[
        str | None, typer.Argument(help="Only this key or section, such as grpo.beta or lora.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """All keys of a configuration: defaults, types, what each does."""
    from edgetool.verbs.config_keys import run_config

    run_config(key, console(), as_json=json_)


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


@app.command()
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
    """Warm start: train an adapter on the rows' own calls."""
    from edgetool.verbs.configuring import Told, configured

    told = Told(config, with_template(set_, template), model, data, seed)
    resolved = configured("sft", told, console())
    if dry_run:
        with loading():
            from edgetool.verbs.dry_run import run_dry

        run_dry(resolved, console(), "sft", resume=resume)
        return
    with loading():
        from edgetool.verbs.training import run_sft

    with _interruptible():
        if run_sft(resolved, console(), resume=resume).interrupted:
            raise KeyboardInterrupt


@app.command()
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
    """Train an adapter with GRPO on a 4-bit base."""
    from edgetool.verbs.configuring import Told, configured

    told = Told(config, with_template(set_, template), model, data, seed)
    resolved = configured("train", told, console())
    if dry_run:
        with loading():
            from edgetool.verbs.dry_run import run_dry

        run_dry(resolved, console(), init_adapter=init_adapter, resume=resume)
        return
    with loading():
        from edgetool.verbs.training import run_training

    with _interruptible():
        done = run_training(resolved, console(), resume=resume, init_adapter=init_adapter)
        if done.interrupted:
            raise KeyboardInterrupt
