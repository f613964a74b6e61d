"""A Hugging Face tokenizer as the house's Prompter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetool.calls import formats
from edgetool.calls.prompt import Prompter
from edgetool.errors import ModelError


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model folder or hub id. Raises ModelError when there is none.

    tokenizer.json is taken at its word, as llama.cpp takes it: AutoTokenizer puts the pre-tokenizer
    it knows for a model type in place of the file's own, which cuts numbers into other tokens.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"{model}: no usable tokenizer ({_first_line(error)}); "
            "the folder needs tokenizer.json and tokenizer_config.json"
        ) from error


def hf_prompter(tokenizer: Any, model: str, call_syntax: str | None = None) -> Prompter:
    """The Prompter of a Hugging Face tokenizer.

    model         its folder or id, for messages
    call_syntax   a name from `calls.formats`; None: the one the chat template teaches

    Raises ModelError when the tokenizer has no chat template.
    """
    template = chat_template(tokenizer, model)
    syntax = formats.get(call_syntax) if call_syntax else formats.detect(template)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}

    def encode(text: str) -> Sequence[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Prompter(template, tuple(marker_ids(tokenizer)), encode, syntax, names)


def marker_ids(tokenizer: Any) -> dict[str, int]:
    """The id of every added token, control tokens among them, by its text."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}


def chat_template(tokenizer: Any, model: str) -> str:
    """The template that renders tools. Some models have several; theirs is called `tool_use`."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("tool_use") or template.get("default")
    if not isinstance(template, str) or not template.strip():
        raise ModelError(
            f"{model}: the tokenizer has no chat template, so tools cannot be shown to the model; "
            "use an instruction-tuned model, or put its template into chat_template.jinja"
        )
    return template


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
