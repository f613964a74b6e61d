"""The base models that are known, and what each needs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from edgetool import catalogue
from edgetool.architectures import ARCHITECTURES
from edgetool.catalogue import Card
from edgetool.commands.common import JsonOption, console, group
from edgetool.errors import ModelError

DETECTED = "by template"

app = group()


@app.command(help=__doc__)
def models(
    name: Annotated[str | None, typer.Argument(help="Show this one whole.")] = None,
    json_: JsonOption = False,
) -> None:
    chosen = catalogue.cards() if name is None else (catalogue.get(name),)
    if json_:
        values = [{**card.model_dump(mode="json"), "trains": not obstacle(card)} for card in chosen]
        print(json.dumps(values if name is None else values[0], indent=2, ensure_ascii=False))
    elif name is None:
        shown = console()
        shown.print(_table(chosen))
        shown.print("`edgetool models NAME` shows one whole, `edgetool plan NAME` what it takes")
    else:
        _show(chosen[0], console())


def obstacle(card: Card) -> str | None:
    """Why this model cannot be trained here; None when it can."""
    if card.refused is not None:
        return f"evaluation only: {card.refused}"
    if card.architecture not in ARCHITECTURES:
        return f"the trainer does not know {card.architecture}"
    return _not_exportable(card)


def _not_exportable(card: Card) -> str | None:
    """Training starts only where its outcome can become GGUF."""
    try:
        from edgetool.architectures import find_architecture
        from edgetool.export.shape import read_shape
    except ModuleNotFoundError:  # the extra 'export' is not installed
        return None
    shape = card.shape or {}
    try:
        read_shape(shape, find_architecture(shape, card.name), card.name)
    except ModelError as error:
        return f"it cannot be exported: {error}"
    return None


def _table(cards: tuple[Card, ...]) -> Table:
    numbers = Column("parameters", justify="right")
    columns = ("model", numbers, "licence", "calls", "fits 8 GB", "fits 12 GB", "trains")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for card in cards:
        count = f"{card.parameters / 1e6:,.0f} M" if card.parameters else "–"
        calls = card.call_syntax or DETECTED
        sizes = [_fitting(card, memory) for memory in (8, 12)]
        trains = Text("no", "yellow") if obstacle(card) else Text("yes", "green")
        table.add_row(card.name, count, card.licence, calls, *sizes, trains)
    return table


def _fitting(card: Card, memory: int) -> str:
    found = card.recommended.get(memory)
    if found is None:
        return "–"
    return f"{found.num_generations} × ({found.max_prompt_length} + {found.max_completion_length})"


def _show(card: Card, console: Console) -> None:
    values = card.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=96)
    console.print(Text(text.rstrip()))
    if why := obstacle(card):
        console.print(f"trains: no, {why}", markup=False)
    else:
        console.print(f"next: edgetool init --model {card.name}")
