"""Tokenizers that came from SentencePiece, in the form GGUF stores.

They cut text without a pre-tokenizer: spaces become U+2581 and pairs are merged over the whole
text. Two kinds become GGUF:

    BPE with merges      Llama 2, Mistral, Phi-3, Gemma; llama.cpp's "llama"
    Unigram              T5, XLM-R and models that took their vocabulary; llama.cpp's "t5"

llama.cpp merges the pair whose result has the highest score, wherever the result is a token. So a
token's score is the negative rank of its first merge; with a published vocabulary, whose merges
were derived from scores, that is the same order. A custom one may lack merges of two tokens into
a third, which llama.cpp makes all the same (`lacks_merges`): every export compares the tokens
(fidelity.require_same_tokens), and of such a one measures how often they differ.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgetool.errors import ModelError

SPACE = "\u2581"
UNKNOWN, BYTE = 2, 6  # llama.h's llama_token_type
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
UNREACHED = -1e9  # of a piece that no merge makes and no probability is given for
Tokenizer = Mapping[str, Any]


@dataclass(frozen=True)
class Pieces:
    """What a SentencePiece vocabulary tells beside its tokens.

    model         tokenizer.ggml.model
    scores        of each token by its text
    unknown       the token for what has no other, None where every byte has one
    space_prefix  a space is put before every text
    charsmap      SentencePiece's compiled normalization, empty: none
    trims         runs of spaces are one
    """

    model: str
    scores: Mapping[str, float]
    unknown: str | None
    space_prefix: bool
    charsmap: bytes = b""
    trims: bool = False

    def kind(self, token: str, usual: int) -> int:
        """tokenizer.ggml.token_type of a token that is `usual` otherwise."""
        if token == self.unknown:
            return UNKNOWN
        return BYTE if token in BYTES else usual


def is_sentencepiece(tokenizer: Tokenizer) -> bool:
    """Does this tokenizer.json write spaces as SentencePiece does?"""
    if tokenizer["model"].get("type") == "Unigram":
        return True
    steps = [*flat(tokenizer.get("normalizer")), *flat(tokenizer.get("pre_tokenizer"))]
    writes_spaces = any(_replaces_spaces(s) or s.get("type") == "Metaspace" for s in steps)
    return tokenizer["model"].get("type") == "BPE" and writes_spaces


def read_pieces(tokenizer: Tokenizer, where: object) -> Pieces:
    """Raises ModelError for steps that llama.cpp does not take before it merges."""
    model = tokenizer["model"]
    if model["type"] == "Unigram":
        return _unigram(tokenizer, where)
    scores = {token: 0.0 if len(token) == 1 else UNREACHED for token in model["vocab"]}
    for rank, merge in reversed(list(enumerate(model["merges"]))):
        scores["".join(merge.split(" ") if isinstance(merge, str) else merge)] = -float(rank)
    return Pieces("llama", scores, model.get("unk_token"), _space_prefix(tokenizer, where))


def lacks_merges(tokenizer: Tokenizer) -> bool:
    """Can llama.cpp make a token of two others that this BPE does not merge?"""
    if tokenizer["model"]["type"] != "BPE" or not is_sentencepiece(tokenizer):
        return False
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    known = {tuple(m.split(" ") if isinstance(m, str) else m) for m in merges}
    made = {"".join(pair) for pair in known}
    splits = ((piece[:at], piece[at:]) for piece in made for at in range(1, len(piece)))
    return any(a in vocab and b in vocab and (a, b) not in known for a, b in splits)


def _unigram(tokenizer: Tokenizer, where: object) -> Pieces:
    model = tokenizer["model"]
    if model.get("byte_fallback"):
        raise ModelError(
            f"{where}: a Unigram tokenizer with byte fallback is not in llama.cpp, which writes "
            "its unknown token instead"
        )
    steps = flat(tokenizer.get("normalizer"))
    charsmaps = [s["precompiled_charsmap"] for s in steps if s.get("type") == "Precompiled"]
    trims = any(_trims(step) for step in steps) or _splits_at_spaces(tokenizer)
    rest = [s for s in steps if s.get("type") != "Precompiled" and not _trims(s)]
    return Pieces(
        "t5",
        {piece: float(score) for piece, score in model["vocab"]},
        model["vocab"][model["unk_id"]][0],
        _space_prefix({**tokenizer, "normalizer": _sequence(rest)}, where),
        base64.b64decode(charsmaps[0]) if charsmaps and charsmaps[0] else b"",
        trims,
    )


def _space_prefix(tokenizer: Tokenizer, where: object) -> bool:
    """Is a space put before every text? Raises ModelError for steps that do anything else."""
    prefix = False
    for step in flat(tokenizer.get("normalizer")):
        if step.get("type") == "Prepend" and step.get("prepend") == SPACE:
            prefix = True
        elif not _replaces_spaces(step):
            raise ModelError(f"{where}: normalizer {dict(step)} is not in llama.cpp")
    for step in flat(tokenizer.get("pre_tokenizer")):
        if step.get("type") == "Metaspace" and step.get("replacement") == SPACE:
            prefix = step.get("prepend_scheme", "always") == "always"
        elif not _does_nothing(step) and step.get("type") != "WhitespaceSplit":
            raise ModelError(f"{where}: llama.cpp has no pre-tokenizer like {dict(step)}")
    return prefix


def flat(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, however deep its sequences are."""
    if step is None:
        return []
    inner = step.get("normalizers") or step.get("pretokenizers")
    if step.get("type") == "Sequence":
        return [found for child in inner or () for found in flat(child)]
    return [step]


def _sequence(steps: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": steps}


def _replaces_spaces(step: Mapping[str, Any]) -> bool:
    return (step.get("type"), step.get("pattern"), step.get("content")) == (
        "Replace",
        {"String": " "},
        SPACE,
    )


def _trims(step: Mapping[str, Any]) -> bool:
    """ "a  b" -> "a b", or without the spaces at both ends."""
    if step.get("type") == "Strip":
        return True
    pattern = (step.get("pattern") or {}).get("Regex", "")
    return step.get("type") == "Replace" and bool(re.fullmatch(r"( |\\s)(\{2,\}|\+)", pattern))


def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    return any(s.get("type") == "WhitespaceSplit" for s in flat(tokenizer.get("pre_tokenizer")))


def _does_nothing(step: Mapping[str, Any]) -> bool:
    """Gemma splits at spaces of which the normalizer has left none."""
    return step.get("type") == "Split" and step.get("pattern") == {"String": " "}


def leaves_first_space(tokenizer: Tokenizer) -> bool:
    """Does a text that begins with a space get no other one put before it? So the tokenizers
    package does with Metaspace; SentencePiece and llama.cpp always put one."""
    steps = flat(tokenizer.get("pre_tokenizer"))
    return any(step.get("type") == "Metaspace" for step in steps)


def only_the_first_has_a_space(tokenizer: Tokenizer) -> bool:
    """Is a space put before a prompt that begins with text, and nowhere else (Mistral)? llama.cpp
    puts one behind every marker, too, or none; prompts begin with a marker, so it is told none."""
    steps = flat(tokenizer.get("pre_tokenizer"))
    return any(step.get("prepend_scheme") == "first" for step in steps)


def alphabet(tokenizer: Tokenizer) -> frozenset[str] | None:
    """The characters it can write; None: all of them.

    Over any other llama.cpp ends its process where a "llama" vocabulary has no tokens for bytes.
    """
    vocab = tokenizer["model"].get("vocab")
    if not is_sentencepiece(tokenizer) or isinstance(vocab, list) or BYTES[-1] in vocab:
        return None
    return frozenset({" "} | {token for token in vocab if len(token) == 1})


def written(texts: Iterable[str], characters: frozenset[str] | None) -> Iterator[str]:
    """The texts without what is not in the alphabet."""
    for text in texts:
        yield text if characters is None else "".join(c for c in text if c in characters)
