r"""Finding llama.cpp's name for a tokenizer's way of cutting text into words.

llama.cpp has each pre-tokenizer built in under a name (`tokenizer.ggml.pre`). Its official
converter recognises published tokenizers by a hash and refuses all others; here the regular
expressions of tokenizer.json are compared with llama.cpp's, and where they are spelled otherwise
what they do to texts over which pre-tokenizers part. So a custom vocabulary exports too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from edgetool.errors import ModelError
from edgetool.export.tokenizer.probes import CUTS, every_three
from edgetool.export.tokenizer.sentencepiece import flat
from edgetool.gguf_base.pretokenizers import CONTRACTIONS, DIGIT, GPT2, KNOWN

Cut = list[tuple[int, int]]  # where the words of a text begin and end


def recognise(tokenizer: Mapping[str, Any], where: object) -> str:
    """`tokenizer.ggml.pre` for a tokenizer.json.

    Raises ModelError for one that llama.cpp would cut differently.
    """
    step = tokenizer.get("pre_tokenizer")
    _require_byte_level(step, where)
    ignore_merges = bool(tokenizer["model"].get("ignore_merges"))
    spelled = _regexes(step) or ()
    return KNOWN.get((spelled, ignore_merges)) or _by_behaviour(step, ignore_merges, where)


def _by_behaviour(step: Any, ignore_merges: bool, where: object) -> str:
    """The name of the one that cuts every probe alike, else an error with the nearest one's cut."""
    apart: list[tuple[int, str, str]] = []
    for (regexes, ignoring), name in KNOWN.items():
        if ignoring != ignore_merges:
            continue
        differing, first = _compare(step, _spelled(regexes), where)
        if not first:
            return name
        apart.append((differing, name, first))
    _, nearest, difference = min(apart, key=lambda found: found[0])
    raise ModelError(
        f"{where}: llama.cpp has no pre-tokenizer that cuts as this tokenizer does (ignore_merges "
        f"= {ignore_merges}); the nearest is {nearest}: {difference}"
    )


def _compare(ours: Any, theirs: Any, where: object) -> tuple[int, str]:
    """How many of CUTS two pre-tokenizers cut differently, and the first difference of all; where
    CUTS tell nothing, every three kinds of characters in a row are tried."""
    for texts in (CUTS, every_three()):
        pairs = zip(texts, _cuts(ours, texts, where), _cuts(theirs, texts, where), strict=True)
        found = [_difference(text, a, b) for text, a, b in pairs if a != b]
        if found:
            return len(found) if texts is CUTS else 0, found[0]
    return 0, ""


def _difference(text: str, ours: Cut, theirs: Cut) -> str:
    pairs = zip_longest(ours, theirs)
    first = next(i for i, (a, b) in enumerate(pairs) if a != b)
    one, other = ([text[a:b] for a, b in cut[first : first + 3]] for cut in (ours, theirs))
    return f"{other} instead of {one}"


def _cuts(step: Any, texts: Sequence[str], where: object) -> list[Cut]:
    """Where a pre-tokenizer, as tokenizer.json has it, cuts the texts."""
    from tokenizers import Tokenizer

    empty = {"type": "BPE", "vocab": {}, "merges": []}
    try:
        made = Tokenizer.from_str(
            json.dumps(
                {"version": "1.0", "added_tokens": [], "pre_tokenizer": step, "model": empty}
            )
        ).pre_tokenizer
    except Exception as error:  # the package raises nothing narrower
        raise ModelError(f"{where}: tokenizer.json has a bad pre-tokenizer: {error}") from error
    return [[span for _, span in made.pre_tokenize_str(text)] for text in texts]


def _spelled(regexes: Sequence[str]) -> dict[str, Any]:
    """tokenizer.json's form of llama.cpp's regular expressions."""
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    steps = [{**split, "pattern": {"Regex": regex}} for regex in regexes]
    return {"type": "Sequence", "pretokenizers": [*steps, {**last, "use_regex": False}]}


def _require_byte_level(step: Mapping[str, Any] | None, where: object) -> None:
    steps = flat(step)
    if not steps or steps[-1].get("type") != "ByteLevel":
        kind = steps[-1].get("type") if steps else None
        raise ModelError(
            f"{where}: the tokenizer is neither a byte-level BPE nor SentencePiece's (its "
            f"pre-tokenizer is {kind}), and llama.cpp has no other"
        )
    if any(one.get("add_prefix_space") for one in steps):
        raise ModelError(f"{where}: add_prefix_space of its pre-tokenizer is not in llama.cpp")


def _regexes(step: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The regular expressions it splits by; None where it has other steps."""
    found = [_regex_of(one) for one in flat(step)]
    return None if None in found else tuple(regex for one in found for regex in one or ())


def _regex_of(step: Mapping[str, Any]) -> list[str] | None:
    kind = step.get("type")
    if kind == "ByteLevel":
        return [GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [DIGIT]
    isolated = step.get("behavior") == "Isolated" and not step.get("invert")
    if kind == "Split" and isolated and "Regex" in step["pattern"]:
        return [_spell(step["pattern"]["Regex"])]
    return None


def _spell(regex: str) -> str:
    """One spelling for the case-insensitive contractions; llama.cpp and some models expand them."""
    expanded = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    return regex.replace(expanded, CONTRACTIONS)
