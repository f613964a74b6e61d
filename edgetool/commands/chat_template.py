"""What a command uses of a model's folder, its chat template first of all: said before any work."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from edgetool import catalogue
from edgetool.calls.prompt.template_choice import OWN, ChatTemplate, choose
from edgetool.catalogue import locate


def say_template(choice: ChatTemplate | None, console: Console) -> None:
    """The line that says what took the place of the model's own template."""
    if choice is not None and choice.note:
        console.print(choice.note, markup=False)


def look_at_template(model: str, template: str | None, console: Console) -> ChatTemplate | None:
    """`template_of`, and the line about it: also where there is nothing to look at yet."""
    chosen, card = template_of(model, template), catalogue.find(model)
    say_template(chosen, console)
    if chosen is None and not (card and card.call_syntax):
        console.print(
            f"{model}: no chat template is here to look at; see whether it shows tools with: "
            f"edgetool doctor --model {model}",
            markup=False,
        )
    return chosen


def say_left_out(model: Path, console: Console) -> None:
    """The line about stored tensors that the model has no place for."""
    from edgetool.export.stored import left_out

    if line := left_out(model):
        console.print(line, markup=False)


def template_of(model: str, template: str | None = None) -> ChatTemplate | None:
    """The chat template that prompts of a model are made with; nothing is downloaded.

    model      a card's name, a folder or a hub id
    template   as `template_choice.choose` is asked for one

    None where the model is not here yet, or only its sizes. Raises ModelError where no template
    shows its tools.
    """
    from edgetool.export.model_folder import ModelFolder, cached

    path = cached(locate(model))
    if path is None:
        if template not in (None, OWN):
            choose(None, template, where=model)  # a name that nobody knows is refused at once
        return None
    folder = ModelFolder.open(path)
    known = folder.own_template or folder.tokenizer_config or template
    return folder.choose_template(template) if known else None
