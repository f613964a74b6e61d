"""Write a configuration with comments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from edgetool import catalogue
from edgetool.catalogue import NANO, Recommended
from edgetool.commands.chat_template import look_at_template
from edgetool.commands.common import TemplateOption, console, group
from edgetool.config import build_config
from edgetool.data.held_out import RowSources, hold_out
from edgetool.data.sources import DEMO
from edgetool.errors import UsageError
from edgetool.files import write_text, writing

SLM_TOOL_USE = "slm-tool-use"
RECIPES = (SLM_TOOL_USE,)
# The models of arXiv:2509.04518; the first unless another is asked for.
PAPER_MODELS = ("Qwen2.5-1.5B-Instruct", "Qwen2.5-3B-Instruct", "Llama-3.2-3B-Instruct")
XLAM = "xlam.jsonl"
DEMO_REWARDS = {"paper": 0.25, "exact": 0.75, "abstain": 1.0}

app = group()


@app.command(help=__doc__)
def init(
    out: Annotated[Path, typer.Argument(metavar="YAML", help="The file to write.")] = Path(
        "my.yaml"
    ),
    model: Annotated[
        str | None, typer.Option(help="A card's name, a folder or a hub id; nano by default.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Rows to train on; demo by default.")] = None,
    vram: Annotated[int, typer.Option(help="GPU memory in GiB.")] = 8,
    template: TemplateOption = None,
    recipe: Annotated[str | None, typer.Option(help="slm-tool-use: arXiv:2509.04518.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    run_init(
        out, console(), model=model, data=data, vram=vram, recipe=recipe, force=force,
        template=template,
    )  # fmt: skip


def run_init(
    out: Path,
    console: Console,
    *,
    model: str | None = None,
    data: str | None = None,
    vram: int = 8,
    recipe: str | None = None,
    force: bool = False,
    template: str | None = None,
) -> None:
    """Write a configuration that `edgetool train --config` runs as it is.

    template   as `template_choice.choose` is asked for one

    Rows to measure on are held out of the user's own, see `held_out`.
    Raises UsageError when the file is there already, for a model that must not be trained, for an
    unknown recipe and for rows that are not there; DataError for rows that cannot be used.
    """
    if out.exists() and not force:
        raise UsageError(f"{out} is there already; add --force to replace it, or name another")
    if recipe is not None and recipe not in RECIPES:
        raise UsageError(f"--recipe {recipe}: unknown; known: {', '.join(RECIPES)}")
    chosen = model or (PAPER_MODELS[0] if recipe else NANO)
    catalogue.require_trainable(chosen)
    if recipe and chosen not in PAPER_MODELS:
        raise UsageError(
            f"--recipe {recipe} --model {chosen}: the paper has {', '.join(PAPER_MODELS)}"
        )
    look_at_template(chosen, template, console)
    name = out.stem
    settings = None if recipe else _settings_for(chosen, vram)
    rows = None if data in (None, DEMO) else hold_out(data)
    text = _plain(chosen, rows, vram, name, settings) if settings else _paper(chosen, rows, name)
    if template:
        text += f"\ntemplate: {_quoted(template)}  # the chat template\n"
    build_config(yaml.safe_load(text), str(out))  # whoever gets it need not find out later
    with writing(out, option=None):
        write_text(out, text)
    if rows:
        console.print(rows.sentence, markup=False)
    console.print(f"wrote {out}; next: edgetool train --config {out} --dry-run", markup=False)


def _settings_for(model: str, vram: int) -> Recommended:
    """What fits a GPU of so many GiB: from the card, or planned now."""
    card = catalogue.card_of(model)
    found = card.recommended.get(vram) if card else None
    if found is None:
        from edgetool.commands.plan import recommendation

        found = recommendation(model, vram)
    if found is None:
        raise UsageError(
            f"{model} does not fit {vram} GiB; `edgetool plan {model} --vram {vram}` says what does"
        )
    return found


def _plain(model: str, rows: RowSources | None, vram: int, name: str, found: Recommended) -> str:
    rewards = DEMO_REWARDS if rows is None else {"paper": 1.0}
    rows = rows or hold_out(DEMO)
    same = rows.train == rows.validation != DEMO
    return f"""\
# Written by `edgetool init`. `edgetool train --config` runs it; every key can also be set on the
# command line, as in --set grpo.max_steps=50. Keys that are not here keep their defaults.
model: {_quoted(model)}{_remark(model)}
output_dir: {_quoted(f"runs/{name}")}

# Rows: `demo`, or a file with one JSON object a line: messages, tools, calls.
data:
  train: {_quoted(rows.train)}
  validation: {_quoted(rows.validation)}{"  # better: rows that are not trained on" if same else ""}

# Reward functions and their weights. paper: arXiv:2509.04518's graded one; exact: 1 for a call
# that is right to the last argument; abstain: whether calling at all was right.
rewards: {json.dumps(rewards)}

lora:
  r: 16             # more learns more and takes more memory
  lora_alpha: 32

grpo:
  # Chosen by `edgetool plan` for a GPU of {vram} GiB.
  num_generations: {found.num_generations}                # completions a prompt
  prompts_per_step: {found.prompts_per_step}               # prompts in one rollout
  gradient_accumulation_steps: {found.gradient_accumulation_steps}    # rollouts in one step
  max_prompt_length: {found.max_prompt_length}           # tokens; longer rows are left out
  max_completion_length: {found.max_completion_length}
  packed_tokens: {found.packed_tokens}              # tokens in one training pass
  gradient_checkpointing: true

  max_steps: 200
  learning_rate: 1.0e-5
  lr_scheduler_type: linear
  # optim: adamw_8bit           # less memory for the optimizer; needs bitsandbytes
  # scale_rewards: none         # where near misses should weigh less than hits
  save_steps: 50    # `--resume` goes on from the newest checkpoint
"""


def _remark(model: str) -> str:
    card = catalogue.find(model)
    return f"  # {card.licence}" if card and card.hub else ""


def _quoted(text: str) -> str:
    """As YAML would write it, whatever it holds."""
    return yaml.safe_dump(text, default_flow_style=True, width=1000).splitlines()[0]


def _paper(model: str, rows: RowSources | None, name: str) -> str:
    return f"""\
# arXiv:2509.04518, "Advancing SLM Tool-Use Capability using Reinforcement Learning", as far as it
# says; what it does not say is marked (ours).
model: {model}{_remark(model)}
output_dir: {_quoted(f"runs/{name}")}
load_in_4bit: true                     # (ours): the paper names LoRA and a T4

# 4,000 rows of Salesforce/xlam-function-calling-60k (CC-BY-4.0), in edgetool's rows.
data:
  train: {_quoted(rows.train if rows else XLAM)}
  train_rows: 4000
  validation: {_quoted(rows.validation if rows else XLAM)}
  validation_rows: 300                 # (ours)

rewards: {{paper: 1.0}}                  # 0.125 valid + 0.375 names + 0.5 arguments

lora: {{r: 64, lora_alpha: 64}}          # lora_alpha (ours)

grpo:
  num_generations: 8
  prompts_per_step: 1                  # (ours)
  gradient_accumulation_steps: 4
  max_steps: 500
  learning_rate: 5.0e-6
  lr_scheduler_type: cosine_with_restarts
  lr_scheduler_kwargs: {{num_cycles: 1}} # (ours): transformers' default
  optim: adamw_8bit
  max_completion_length: 8192          # a plan counts on all of it; calls are far shorter
  max_prompt_length: 2048              # (ours)
  save_steps: 50
"""
