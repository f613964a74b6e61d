"""What training takes by part, and what fits a GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Column, Table

from edgetool import catalogue
from edgetool.catalogue import Recommended
from edgetool.commands.chat_template import say_template, template_of
from edgetool.commands.common import JsonOption, TemplateOption, console, group
from edgetool.config import Config
from edgetool.errors import UsageError
from edgetool.system import MIB
from edgetool.train.memory.estimate import Machine, Plan
from edgetool.train.memory.model_shape import Shape
from edgetool.train.memory.search import GIB, Fit, Setup, largest_fit, largest_groups
from edgetool.train.settings import GRPOSettings, LoraSettings

if TYPE_CHECKING:
    from edgetool.train.load import LoadSettings

# The keys of a configuration that `fit` looks for.
FITTED = (
    "num_generations",
    "prompts_per_step",
    "gradient_accumulation_steps",
    "max_prompt_length",
    "max_completion_length",
    "packed_tokens",
)
STEPS_BEFORE_COMPARING = 10

app = group()


@app.command(help=__doc__)
def plan(
    model: Annotated[str, typer.Argument(help="A card's name, a folder or a hub id.")],
    vram: Annotated[float, typer.Option(help="GPU memory in GiB.")] = 8,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    run_plan(model, vram, console(), template=template, as_json=json_)


def run_plan(
    model: str,
    vram: float,
    console: Console,
    *,
    template: str | None = None,
    as_json: bool = False,
) -> None:
    """What training a model takes on a GPU of `vram` GiB, and a configuration that fits.

    template   as `template_choice.choose` is asked for one

    Raises UsageError when nothing of it fits, naming the largest model that does.
    """
    if not vram > 0:
        raise UsageError(f"--vram {vram:g}: expected GiB of GPU memory, such as 8")
    catalogue.require_trainable(model)
    chosen = template_of(model, template)
    setup = Setup(known_shape(model), LoraSettings(), Machine(), vram * GIB)
    fit = largest_fit(setup)
    if fit is None:
        raise UsageError(_nothing_fits(model, setup))
    groups = largest_groups(setup)
    if as_json:
        about = {"chat_template": chosen and chosen.name}
        print(json.dumps(_as_json(model, vram, fit, groups) | about, indent=2))
        return
    say_template(chosen, console)
    console.print(f"{model} on {vram:g} GiB: {fit.plan.total_mb:,} MiB planned, not measured")
    console.print(table_of(fit.plan))
    console.print(_lengths(groups))
    console.print("\nA configuration that fits, or `edgetool init` for one with comments:\n")
    console.print(yaml.safe_dump(_config(model, fit.grpo), sort_keys=False).rstrip(), markup=False)


def known_shape(model: str) -> Shape:
    """A card's shape, or that of a folder or hub id."""
    card = catalogue.card_of(model)
    if card is not None and card.shape is not None:
        return Shape.of(card.shape, card.name)
    from edgetool.train.memory.device import shape_of

    return shape_of(catalogue.locate(model))


def recommendation(model: str, vram: float) -> Recommended | None:
    """What fits a GPU of `vram` GiB, as cards have it; None when nothing does."""
    fit = largest_fit(Setup(known_shape(model), LoraSettings(), Machine(), vram * GIB))
    return Recommended(**fitted(fit.grpo), planned_mb=fit.plan.total_mb) if fit else None


def table_of(planned: Plan) -> Table:
    """Each part in MiB, and the sums."""
    table = Table("part", "held", right("MiB"), box=None, padding=(0, 2, 0, 0))
    for part in planned.parts:
        table.add_row(part.name, part.when, f"{part.bytes / MIB:,.0f}")
    table.add_row("", "")
    table.add_row("total", "at the worst moment", f"{planned.total_mb:,}")
    return table


def right(heading: str) -> Column:
    """A column of numbers."""
    return Column(heading, justify="right")


def _lengths(groups: Sequence[tuple[int, int, int]]) -> Table:
    columns = map(right, ("prompt tokens", "completion tokens", "completions a group, at most"))
    title = "What fits, one prompt at a time"
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), title=title)
    for prompt, completion, size in groups:
        table.add_row(str(prompt), str(completion), str(size or "none"))
    return table


def fitted(grpo: GRPOSettings) -> dict[str, Any]:
    """The settings that were looked for."""
    return {name: getattr(grpo, name) for name in FITTED}


def _config(model: str, grpo: GRPOSettings) -> dict[str, Any]:
    lora = LoraSettings()
    return {
        "model": model,
        "output_dir": "runs/my",
        "data": {"train": "train.jsonl", "validation": "held_out.jsonl"},
        "rewards": {"paper": 1.0},
        "lora": {"r": lora.r, "lora_alpha": lora.lora_alpha},
        "grpo": {**fitted(grpo), "gradient_checkpointing": True},
    }


def _as_json(
    model: str, vram: float, fit: Fit, groups: Sequence[tuple[int, int, int]]
) -> dict[str, Any]:
    names = ("max_prompt_length", "max_completion_length", "num_generations")
    return {
        "model": model,
        "vram_gib": vram,
        "planned_mb": fit.plan.total_mb,
        "parts": [asdict(part) for part in fit.plan.parts],
        "fits": [dict(zip(names, row, strict=True)) for row in groups],
        "config": _config(model, fit.grpo),
    }


def _nothing_fits(model: str, setup: Setup) -> str:
    least = setup.plan(
        GRPOSettings(
            num_generations=2,
            prompts_per_step=1,
            max_prompt_length=512,
            max_completion_length=128,
            packed_tokens=1,
        )
    )
    return (
        f"{model} does not fit {setup.memory / GIB:g} GiB: two completions of 128 tokens for one "
        f"prompt of 512 take {least.total_mb:,} MiB; {_other_model(setup)}"
    )


def _other_model(setup: Setup) -> str:
    """The largest model that can be trained there, with its command."""
    from edgetool.commands.models import obstacle

    for card in sorted(catalogue.cards(), key=lambda c: -(c.parameters or 0)):
        if card.shape is None or obstacle(card):
            continue
        smaller = Setup(Shape.of(card.shape, card.name), setup.lora, Machine(), setup.memory)
        if largest_fit(smaller) is not None:
            return f"{card.name} does: edgetool plan {card.name} --vram {setup.memory / GIB:g}"
    return "no model of `edgetool models` does"


# Where max_prompt_length is left open: rows are not read yet.
ASSUMED_PROMPT = 2048


@dataclass(frozen=True)
class Outlook:
    """A run's plan and what the machine has free, in MiB; 0 free where nobody tells."""

    setup: Setup
    plan: Plan
    free_mb: float

    @property
    def tight(self) -> bool:
        return 0 < self.free_mb < self.plan.total_mb


def look_ahead(
    config: Config, shape: Shape, load: LoadSettings, longest: int | None = None
) -> Outlook:
    """The plan of `edgetool train` with this configuration on this machine.

    longest   tokens of the longest prompt, where the rows have been read
    """
    from edgetool.train.memory.device import free_mb, machine_of

    machine = machine_of(shape, load, config.grpo)
    free = free_mb(machine)
    setup = Setup(shape, config.lora, machine, free * MIB)
    longest = longest or config.grpo.max_prompt_length or min(ASSUMED_PROMPT, shape.context)
    return Outlook(setup, setup.plan(config.grpo, longest), free)


def check_memory(outlook: Outlook) -> str | None:
    """A line to say when memory looks too small.

    Raises UsageError when even the weights and the adapter do not fit, or one completion of the
    shortest lengths: nothing can be learned by trying. Otherwise a pass that runs out of memory is
    taken in halves, and a warning is enough.
    """
    if not outlook.tight:
        return None
    fit = largest_fit(outlook.setup)
    memory = f"{outlook.plan.total_mb:,} MiB planned, {outlook.free_mb:,.0f} MiB free"
    if fit is None:
        raise UsageError(f"not enough memory: {memory}; {_other_model(outlook.setup)}")
    changes = " ".join(f"--set grpo.{name}={value}" for name, value in fitted(fit.grpo).items())
    return f"memory may be too small: {memory}; to fit it, add {changes}"


class Comparison:
    """After some steps, planned memory against the most that was measured."""

    def __init__(self, outlook: Outlook) -> None:
        on_gpu = outlook.setup.machine.device.startswith("cuda")
        self.planned_mb = outlook.plan.tensors_mb if on_gpu else outlook.plan.total_mb
        self.key, self.most, self.steps = "device_mb" if on_gpu else "rss_mb", 0.0, 0

    def line(self, metrics: Mapping[str, float]) -> str | None:
        """Take in a step; what to say after it, which is something only once."""
        self.most, self.steps = max(self.most, metrics[self.key]), self.steps + 1
        if self.steps != STEPS_BEFORE_COMPARING or not self.most:
            return None
        return (
            f"memory after {self.steps} steps: {self.planned_mb:,} MiB planned, "
            f"{self.most:,.0f} MiB measured ({self.planned_mb / self.most - 1:+.0%})"
        )
