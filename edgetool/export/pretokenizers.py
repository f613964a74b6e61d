r"""Finding llama.cpp's name for a tokenizer's way of cutting text into words.

llama.cpp has each pre-tokenizer built in under a name (`tokenizer.ggml.pre`). Its official
converter recognises published tokenizers by a hash and refuses all others; here the regular
expressions of tokenizer.json are compared with llama.cpp's, so a custom vocabulary exports too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetool.errors import ModelError

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

DIGIT = r"\p{N}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
QWEN35 = (  # as QWEN2, with combining marks among the letters
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
    + _SPACES
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

# llama.cpp also has "gpt-4o" and "tekken", but cuts combining marks otherwise than the published
# regular expressions do (llama-cpp-python 0.3.36): a model would see tokens it never met.
# (regular expressions applied one after the other, ignore_merges) -> tokenizer.ggml.pre
KNOWN = {
    ((GPT2,), False): "gpt-2",
    ((DIGIT, GPT2), False): "smollm",
    ((QWEN2,), False): "qwen2",
    ((QWEN35,), False): "qwen35",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "smaug-bpe",
}


def recognise(tokenizer: Mapping[str, Any], where: object) -> str:
    """`tokenizer.ggml.pre` for a tokenizer.json.

    Raises ModelError for one that llama.cpp would cut differently.
    """
    regexes = tuple(_regexes(tokenizer.get("pre_tokenizer"), where))
    ignore_merges = bool(tokenizer["model"].get("ignore_merges"))
    name = KNOWN.get((regexes, ignore_merges))
    if name is None:
        known = ", ".join(sorted(set(KNOWN.values())))
        raise ModelError(
            f"{where}: llama.cpp has no pre-tokenizer that splits by {' then '.join(regexes)} "
            f"with ignore_merges = {ignore_merges}; known: {known}"
        )
    return name


def _regexes(step: Mapping[str, Any] | None, where: object) -> list[str]:
    """The regular expressions of a pre-tokenizer whose last step maps bytes to letters."""
    steps = _flatten(step)
    if not steps or steps[-1].get("type") != "ByteLevel":
        kind = steps[-1].get("type") if steps else None
        raise ModelError(
            f"{where}: the tokenizer is neither a byte-level BPE nor SentencePiece's (its "
            f"pre-tokenizer is {kind}), and llama.cpp has no other"
        )
    return [regex for one in steps for regex in _regex_of(one, where)]


def _flatten(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if step is None:
        return []
    if step.get("type") == "Sequence":
        return [inner for child in step["pretokenizers"] for inner in _flatten(child)]
    return [step]


def _regex_of(step: Mapping[str, Any], where: object) -> list[str]:
    kind = step.get("type")
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return [GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [DIGIT]
    if kind == "Split" and _keeps_everything(step) and "Regex" in step["pattern"]:
        return [_spell(step["pattern"]["Regex"])]
    raise ModelError(f"{where}: llama.cpp has no pre-tokenizer like {dict(step)}")


def _keeps_everything(step: Mapping[str, Any]) -> bool:
    """GPT-4's spelling, "remove all but the matches", equals "isolate the matches" for a regular
    expression that matches every character, as all known ones do."""
    return (step.get("behavior"), bool(step.get("invert"))) in (
        ("Isolated", False),
        ("Removed", True),
    )


def _spell(regex: str) -> str:
    """One spelling for the case-insensitive contractions; llama.cpp and some models expand them."""
    expanded = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    return regex.replace(expanded, _CONTRACTIONS)
