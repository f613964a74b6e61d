"""Which base models are known, what is known of each, and where one given by name lies.

A card, models/<name>.yaml, says what a base model is (hub id, licence, config.json's shape), how it
calls tools, and which settings fit a small GPU. `recommended` is written by the planner
(scripts/update_cards.py), never by hand.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from edgetool.errors import ModelError, UsageError

NANO = "nano"
_PACKAGE = Path(__file__).resolve().parent


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recommended(_Part):
    """Settings that fit a GPU of so many GiB, and the MiB they were planned to need there."""

    num_generations: int
    prompts_per_step: int
    gradient_accumulation_steps: int
    max_prompt_length: int
    max_completion_length: int
    packed_tokens: int
    planned_mb: int


class Measured(_Part):
    """A training step's peak memory as it was measured, with these settings on that day."""

    device: str
    date: str
    settings: str
    peak_mb: int


class Card(_Part):
    """One base model.

    hub           its id; None for what comes with edgetool
    parameters    tied embeddings once
    refused       why it must not be trained, for models that are here to be compared with
    shape         the keys of config.json that decide sizes; None only where training is refused
    call_syntax   None: found out from the chat template when the model is loaded
    call_looks    one call as the model's own template has it
    lora_targets  the linear layers that "all-linear" reaches
    thinking      the template variable that switches thinking off; None: it never thinks
    recommended   by GiB of GPU memory; None: nothing fits there
    sources       where the facts were checked; `unverified` lists those that could not be
    """

    name: str
    hub: str | None
    licence: str
    gated: bool = False
    parameters: int | None
    refused: str | None = None
    shape: dict[str, Any] | None
    call_syntax: str | None
    call_looks: str | None
    lora_targets: tuple[str, ...]
    thinking: str | None
    stop_tokens: tuple[str, ...]
    recommended: dict[int, Recommended | None]
    measured: Literal["not measured"] | tuple[Measured, ...]
    sources: str
    unverified: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        return str(self.shape["architectures"][0]) if self.shape else "not recorded"


def read_card(path: Path) -> Card:
    """Raises ModelError naming the file and every key that is missing, unknown or wrong."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        card = Card.model_validate(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: cannot read this model card: {error}") from error
    except ValidationError as error:
        problems = [f"{path}: {_describe(entry)}" for entry in error.errors()]
        raise ModelError("\n".join(problems)) from error
    if (card.shape is None) != (card.refused is not None):
        raise ModelError(f"{path}: expected 'shape' or a reason in 'refused', and not both")
    return card


def _describe(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"the key '{key}' is missing"
    return f"'{key}': {error['msg']}" if key else "expected keys and values"


def folder() -> Path:
    """Where cards and nano are: inside the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / "models"
    return inside if inside.is_dir() else _PACKAGE.parent / "models"


@lru_cache(maxsize=1)
def cards() -> tuple[Card, ...]:
    """All cards, small models first, those for comparison last. Raises ModelError as read_card."""
    found = [read_card(path) for path in sorted(folder().glob("*.yaml"))]
    return tuple(sorted(found, key=lambda c: (c.refused is not None, c.parameters or 0, c.name)))


def find(model: str) -> Card | None:
    """The card of a name or a hub id, whatever its case."""
    name = model.lower()
    for card in cards():
        if name in (card.name.lower(), (card.hub or "").lower()):
            return card
    return None


def is_path(model: str) -> bool:
    """Can a model only be a folder, a GGUF file or a hub id, owner/name?"""
    return "/" in model or "\\" in model or model.endswith(".gguf")


def card_of(model: str) -> Card | None:
    """The card that a model's name means; None where it means a folder, or nothing.

    Raises UsageError for `nano` where a model of that name lies in the working folder.
    """
    is_model = (Path(model) / "config.json").is_file()
    if model == NANO and is_model:
        raise UsageError(
            f"{NANO} names the embedded model, but there is a model in ./{NANO} too; write "
            f"./{NANO} for that one, or rename the folder"
        )
    return None if is_model else find(model)


def get(model: str) -> Card:
    """The card of a name or a hub id. Raises UsageError with the nearest names."""
    if (card := find(model)) is not None:
        return card
    by_lower = {name.lower(): name for card in cards() for name in (card.name, card.hub) if name}
    near = difflib.get_close_matches(model.lower(), by_lower, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(by_lower[name] for name in near)}? " if near else ""
    raise UsageError(f"no model card for '{model}'; {hint}`edgetool models` lists them all")


def locate(model: str) -> str:
    """`nano` -> its folder; a card's name -> its hub id; a folder, file or hub id stays as it is.

    A folder named like a card is meant only where it holds a model.

    Raises UsageError for a word that is none of these and for `nano` where a model of that name
    lies in the working folder, ModelError when nano is missing here.
    """
    card = card_of(model)
    if card is None and (is_path(model) or Path(model).is_dir()):
        return model
    card = card or get(model)
    if card.hub is not None:
        return card.hub
    nano = folder() / NANO
    if (nano / "config.json").is_file():
        return str(nano)
    raise ModelError(
        "the embedded model nano is missing here; run scripts/build_nano.py to make it"
    )


def require_trainable(model: str) -> None:
    """Raises UsageError for a model that is here to be compared with and must not be trained."""
    card = find(model)
    if card is not None and card.refused is not None:
        raise UsageError(
            f"{card.name} is for evaluation only: {card.refused}; "
            "`edgetool models` lists what can be trained"
        )
