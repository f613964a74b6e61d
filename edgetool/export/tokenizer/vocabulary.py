"""A tokenizer.json in the form GGUF stores: byte-level BPE here, SentencePiece beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.prompt import turns
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.prompt.turns import TurnEnds
from edgetool.calls.types import Message
from edgetool.errors import ModelError
from edgetool.export.model_folder import ModelFolder
from edgetool.export.tokenizer import pretokenizers
from edgetool.export.tokenizer.sentencepiece import SPACE, Pieces, is_sentencepiece, read_pieces

# tokenizer.ggml.token_type, llama.h's llama_token_type
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


@dataclass(frozen=True)
class Vocabulary:
    """Everything llama.cpp needs to cut text into this model's tokens.

    tokens, types   one entry per row of the embedding matrix
    pre             llama.cpp's name for the pre-tokenizer
    pieces          of a SentencePiece vocabulary, whose merges are their scores
    bos             None: the model has none
    ends            every token that ends a turn (calls/prompt/turns.py), eos among them
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    eos: int
    bos: int | None
    pad: int | None
    ends: tuple[int, ...]
    add_bos: bool
    add_eos: bool
    pieces: Pieces | None = None

    @property
    def other_ends(self) -> tuple[int, ...]:
        """The ends beside eos, the one that the chat template writes first."""
        return tuple(end for end in self.ends if end != self.eos)


def read_vocabulary(folder: ModelFolder, rows: int, template: str | None = None) -> Vocabulary:
    """The folder's vocabulary, filled up to the embedding's `rows` with unused tokens.

    template   the chat template in use; None: the folder's own

    Raises ModelError when llama.cpp cannot cut text the way this tokenizer does.
    """
    tokenizer = folder.tokenizer
    _require_plain_bpe(tokenizer, folder.path)
    added = tokenizer.get("added_tokens") or []
    for token in added:
        _require_plain(token, folder.path)
    pieces, pre, merges = None, "default", []
    if is_sentencepiece(tokenizer):
        pieces = read_pieces(tokenizer, folder.path)
    else:
        _require_no_normalizer(tokenizer, folder.path)
        pre = pretokenizers.recognise(tokenizer, folder.path)
        merges = list(_merges(tokenizer["model"]))
    tokens, types = _tokens(tokenizer["model"]["vocab"], added, rows, folder, pieces)
    add_bos, add_eos = _adds(tokenizer.get("post_processor"))
    special = _special_ids(
        folder,
        {text: number for number, text in enumerate(tokens)},
        template or folder.own_template,
    )
    return Vocabulary(
        tokens, types, merges, pre, **special, add_bos=add_bos, add_eos=add_eos, pieces=pieces
    )


def _require_plain_bpe(tokenizer: Mapping[str, Any], where: object) -> None:
    model = tokenizer.get("model") or {}
    if model.get("type") not in ("BPE", "Unigram"):
        raise ModelError(
            f"{where}: llama.cpp has no {model.get('type')} tokenizer; supported: BPE, Unigram"
        )
    needed = ("vocab", "merges") if model["type"] == "BPE" else ("vocab", "unk_id")
    if missing := [key for key in needed if model.get(key) is None]:
        raise ModelError(
            f"{where}: tokenizer.json's {model['type']} model lacks {' and '.join(missing)}; save "
            "the tokenizer again with save_pretrained"
        )
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise ModelError(f"{where}: the BPE tokenizer sets {key}, which llama.cpp lacks")


def _require_no_normalizer(tokenizer: Mapping[str, Any], where: object) -> None:
    # llama.cpp does not normalize. NFC leaves all but decomposed accents as they are.
    if (normalizer := tokenizer.get("normalizer")) and normalizer.get("type") != "NFC":
        raise ModelError(f"{where}: normalizer '{normalizer.get('type')}' is not in llama.cpp")


def _require_plain(token: Mapping[str, Any], where: Path) -> None:
    named = where.name.lower()
    # llama.cpp lets the markers of models of this name swallow the white space behind them.
    phi3 = "phi-3" in named or "phi3" in named
    for flag in ("lstrip", "single_word") if phi3 else ("lstrip", "rstrip", "single_word"):
        if token.get(flag):
            raise ModelError(
                f"{where}: added token '{token['content']}' sets {flag}, which llama.cpp lacks"
            )


def _tokens(
    vocab: Mapping[str, int] | list[tuple[str, float]],
    added: list[dict[str, Any]],
    rows: int,
    folder: ModelFolder,
    pieces: Pieces | None,
) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types = [UNUSED] * rows
    if isinstance(vocab, list):  # Unigram's pieces, with their scores
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    last = max([*vocab.values(), *(token["id"] for token in added)])
    if last >= rows:
        raise ModelError(
            f"{folder.path}: the tokenizer has token id {last}, the embedding only {rows} rows; "
            "they are not of the same model"
        )
    for text, number in vocab.items():
        tokens[number], types[number] = text, NORMAL
    for token in added:
        # llama.cpp looks for added tokens before it writes spaces as SentencePiece does.
        text = token["content"].replace(SPACE, " ") if pieces else token["content"]
        tokens[token["id"]] = text
        types[token["id"]] = CONTROL if token.get("special") else USER_DEFINED
    _require_distinct(tokens, folder.path)
    if pieces is not None:
        types = [pieces.kind(text, kind) for text, kind in zip(tokens, types, strict=True)]
    return tokens, types


def _require_distinct(tokens: list[str], where: object) -> None:
    """llama.cpp ends its process over two tokens of one text, which for it ends at a NUL."""
    seen: set[str] = set()
    for number, text in enumerate(tokens):
        if "\0" in text or text in seen:
            raise ModelError(
                f"{where}: token {number} of the tokenizer, {text!r}, has the text of another or "
                "a NUL in it; llama.cpp cannot load such a vocabulary"
            )
        seen.add(text)


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


def _special_ids(
    folder: ModelFolder, ids: Mapping[str, int], template: str | None
) -> dict[str, Any]:
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
        "ends": turns.stop_ids(_turn_ends(folder, template), ids, [ends]),
        "bos": starts[0] if starts else None,
        "pad": pads[0] if pads else None,
    }


def _turn_ends(folder: ModelFolder, template: str | None) -> TurnEnds:
    """What a chat template writes behind a turn; nothing where there is no template."""
    if template is None:
        return TurnEnds()
    names = {role: _text(folder.tokenizer_config.get(role)) for role in ("bos_token", "eos_token")}
    markers = tuple(token["content"] for token in folder.tokenizer.get("added_tokens") or ())

    def render(messages: Sequence[Message]) -> str:
        pieces = render_prompt(
            template, messages, (), markers, add_generation_prompt=False, **names
        )
        return "".join(pieces)

    return turns.turn_ends(render, markers, syntaxes.detect(template))


def _text(token: Any) -> str:
    """A special token is written as its text or as an object with `content`."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
