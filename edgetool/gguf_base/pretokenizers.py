r"""llama.cpp's ways of cutting text into words, by the name a file has for each.

Each is built into llama.cpp under a name (`tokenizer.ggml.pre`). An export looks for the name of a
tokenizer.json (export/tokenizer/pretokenizers.py), and a base model for what a name stands for.
"""

from __future__ import annotations

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

DIGIT = r"\p{N}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
QWEN35 = (  # as QWEN2, with combining marks among the letters
    CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
    + _SPACES
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

NO_CONTRACTIONS = QWEN2.removeprefix(CONTRACTIONS + "|")
SEED = QWEN2.replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")
BAILING = QWEN2.replace(CONTRACTIONS, "'(?i:[sdmt]|ll|ve|re)").replace(
    r"\s*[\r\n]+|", r"\s*[\r\n]|"
)
THREE_DIGITS, CJK = r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+"
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|" + _SPACES
)

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
    ((NO_CONTRACTIONS,), False): "ufakzeka",
    ((SEED,), False): "seed-coder",
    ((BAILING,), False): "bailingmoe",
    ((THREE_DIGITS, CJK, DEEPSEEK3), False): "deepseek-v3",
}

# Further names under which llama.cpp does the same.
ALIASES = {
    "gpt-2": ("mpt", "olmo", "jais", "phi-2"),
    "smollm": ("refact", "starcoder", "command-r", "codeshell", "exaone", "minerva-7b"),
    "qwen2": ("stablelm2", "deepseek-r1-qwen", "megrez"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "pixtral"),
}


def find(name: str) -> tuple[tuple[str, ...], bool] | None:
    """The regular expressions that a name stands for, and ignore_merges; None: not known here."""
    usual = next((one for one, others in ALIASES.items() if name in others), name)
    return next((rule for rule, known in KNOWN.items() if known == usual), None)
