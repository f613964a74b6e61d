"""A Hugging Face tokenizer as the house's Prompter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.template_choice import ChatTemplate, choose, select
from edgetool.errors import ModelError


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model folder or hub id. Raises ModelError when there is none.

    tokenizer.json is taken at its word, as llama.cpp takes it: AutoTokenizer puts the pre-tokenizer
    it knows for a model type in place of the file's own, which cuts numbers into other tokens.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"{model}: no usable tokenizer ({_first_line(error)}); "
            "the folder needs tokenizer.json and tokenizer_config.json"
        ) from error
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _processor_template(Path(model))
    return tokenizer


def _processor_template(folder: Path) -> str | None:
    """The template where older processors keep it, and the export finds it, too."""
    file = folder / "chat_template.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return found.get("chat_template") if isinstance(found, dict) else None


def hf_prompter(
    tokenizer: Any,
    model: str,
    call_syntax: str | None = None,
    template: str | None = None,
    *,
    thinking: bool = False,
) -> Prompter:
    """The Prompter of a Hugging Face tokenizer.

    model         its folder or id, for messages
    call_syntax   a name from `calls.syntaxes`; None: the one the chat template teaches
    template      as `template_choice.choose` is asked for one
    thinking      the model is to think before it answers

    Raises ModelError when no template shows the model its tools, or it has none, and UsageError as
    `with_thinking` does.
    """
    chosen, markers = chat_template(tokenizer, model, template), marker_ids(tokenizer)
    syntax = syntaxes.get(call_syntax) if call_syntax else syntaxes.detect(chosen.text)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}

    def encode(text: str) -> Sequence[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    made = Prompter(chosen.text, tuple(markers), encode, syntax, names, choice=chosen)
    return made.with_thinking(thinking)


def chat_template(tokenizer: Any, model: str, wanted: str | None = None) -> ChatTemplate:
    """The template of a tokenizer's prompts, as `template_choice.choose` is asked for one."""
    own = select(tokenizer.chat_template)
    return choose(own, wanted, where=model, markers=marker_ids(tokenizer))


def marker_ids(tokenizer: Any) -> dict[str, int]:
    """The id of every added token, control tokens among them, by its text."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
