"""A byte-level BPE tokenizer.json in the form GGUF stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgetool.errors import ModelError
from edgetool.export import pretokenizers
from edgetool.export.model_folder import ModelFolder

# tokenizer.ggml.token_type, llama.h's llama_token_type
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


@dataclass(frozen=True)
class Vocabulary:
    """Everything llama.cpp needs to cut text into this model's tokens.

    tokens, types   one entry per row of the embedding matrix
    pre             llama.cpp's name for the pre-tokenizer
    bos             None: the model has none
    eot             a second token that ends a completion, None where there is none
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    eos: int
    bos: int | None
    pad: int | None
    eot: int | None
    add_bos: bool
    add_eos: bool


def read_vocabulary(folder: ModelFolder, rows: int) -> Vocabulary:
    """The folder's vocabulary, filled up to the embedding's `rows` with unused tokens.

    Raises ModelError when llama.cpp cannot cut text the way this tokenizer does.
    """
    tokenizer = folder.tokenizer
    _require_byte_level_bpe(tokenizer, folder.path)
    pre = pretokenizers.recognise(tokenizer, folder.path)
    added = tokenizer.get("added_tokens") or []
    for token in added:
        _require_plain(token, folder.path)
    tokens, types = _tokens(tokenizer["model"]["vocab"], added, rows, folder)
    add_bos, add_eos = _adds(tokenizer.get("post_processor"))
    special = _special_ids(folder, {text: number for number, text in enumerate(tokens)})
    return Vocabulary(
        tokens, types, list(_merges(tokenizer["model"])), pre, **special,
        add_bos=add_bos, add_eos=add_eos,
    )  # fmt: skip


def _require_byte_level_bpe(tokenizer: Mapping[str, Any], where: object) -> None:
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        kind = f"{model.get('type')}{' with byte fallback' if model.get('byte_fallback') else ''}"
        raise ModelError(
            f"{where}: the tokenizer is a SentencePiece-style {kind} model, which edgetool cannot "
            "write to GGUF yet; supported: byte-level BPE"
        )
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise ModelError(f"{where}: the BPE tokenizer sets {key}, which llama.cpp lacks")
    # llama.cpp does not normalize. NFC leaves all but decomposed accents as they are.
    if (normalizer := tokenizer.get("normalizer")) and normalizer.get("type") != "NFC":
        raise ModelError(f"{where}: normalizer '{normalizer.get('type')}' is not in llama.cpp")


def _require_plain(token: Mapping[str, Any], where: object) -> None:
    for flag in ("lstrip", "rstrip", "single_word"):
        if token.get(flag):
            raise ModelError(
                f"{where}: added token '{token['content']}' sets {flag}, which llama.cpp lacks"
            )


def _tokens(
    vocab: Mapping[str, int], added: list[dict[str, Any]], rows: int, folder: ModelFolder
) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types = [UNUSED] * rows
    last = max([*vocab.values(), *(token["id"] for token in added)])
    if last >= rows:
        raise ModelError(
            f"{folder.path}: the tokenizer has token id {last}, the embedding only {rows} rows; "
            "they are not of the same model"
        )
    for text, number in vocab.items():
        tokens[number], types[number] = text, NORMAL
    for token in added:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token.get("special") else USER_DEFINED
    return tokens, types


def _merges(model: Mapping[str, Any]) -> Iterator[str]:
    """tokenizer.json writes a merge as "a b" or, since tokenizers 0.20, as ["a", "b"]."""
    for merge in model.get("merges") or []:
        yield merge if isinstance(merge, str) else " ".join(merge)


def _adds(processor: Mapping[str, Any] | None) -> tuple[bool, bool]:
    """Does the tokenizer put a token before, and one after, every text?"""
    if processor is None:
        return False, False
    if processor.get("type") == "Sequence":
        found = [_adds(child) for child in processor["processors"]]
        return any(before for before, _ in found), any(after for _, after in found)
    single = processor.get("single")
    if processor.get("type") != "TemplateProcessing" or not single:
        return False, False
    return "SpecialToken" in single[0], "SpecialToken" in single[-1]


def _special_ids(folder: ModelFolder, ids: Mapping[str, int]) -> dict[str, Any]:
    generation = folder.read_json("generation_config.json")

    def candidates(role: str) -> list[int]:
        named = _text(folder.tokenizer_config.get(f"{role}_token"))
        found = [ids[named]] if named in ids else []
        for config in (generation, folder.config):
            value = config.get(f"{role}_token_id")
            found += value if isinstance(value, list) else [] if value is None else [value]
        return list(dict.fromkeys(found))

    ends, starts, pads = candidates("eos"), candidates("bos"), candidates("pad")
    if not ends:
        raise ModelError(
            f"{folder.path}: no eos token in tokenizer_config.json, generation_config.json or "
            "config.json; name the token that ends a completion as eos_token"
        )
    return {
        "eos": ends[0],
        "eot": ends[1] if len(ends) > 1 else None,
        "bos": starts[0] if starts else None,
        "pad": pads[0] if pads else None,
    }


def _text(token: Any) -> str:
    """A special token is written as its text or as an object with `content`."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
