"""Any text at all, by hypothesis: llama.cpp and the tokenizer cut it alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from edgetool.export.export import export_gguf
from edgetool.export.parity import _llama_tokenizer, as_prompts
from edgetool.export.tokenizer.sentencepiece import SPACE, leaves_first_space
from tests.export.test_sentencepiece import MARKERS, STEPS, learned, tokenizer_json, with_tokenizer

__all__ = ["learned", "with_tokenizer"]  # fixtures
# Markers and what looks like them, bytes spelled out, white space, scripts, marks without a letter.
FRAGMENTS = (
    "<s>", "</s>", "<tool_call>", "<tool_call", "</s", "<|im_end|>", "<|im_start", "<0x0A>", SPACE,
    " ", "  ", " " * 17, "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u0000", "\u200b",
    "\ufeff", "\u0301", "e\u0301", "\u093f", "नि", "שלום", "مرحبا", "\u202e", "日本", "한국",
    "🚀", "👩\u200d👧", "🇳🇴",
    "'s", "'LL", "the", "The", "123", "1234567", "½", "ß", "İ", '{"a":[1,', "!?", "…",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6)), max_size=12)
# Where Metaspace, other than llama.cpp, puts no space before the one that is there.
FIRST_SPACE = re.compile(f"(^|{'|'.join(MARKERS)})[ {SPACE}]+")
Both = tuple[Callable[[str], list[int]], Callable[[str], list[int]], dict[str, Any]]


def opened(folder: Path, out: Path) -> Iterator[Both]:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(content))
    [file] = export_gguf(folder, None, out, ["F16"])

    def ours(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    with _llama_tokenizer(file.path) as theirs:
        yield ours, theirs, content


@pytest.fixture(params=[*STEPS, "byte-level"])
def both(
    request: pytest.FixtureRequest,
    learned: Any,
    with_tokenizer: Any,
    tiny_model: Path,
    tmp_path: Path,
) -> Iterator[Both]:
    if request.param == "byte-level":
        yield from opened(tiny_model, tmp_path)
    else:
        content = tokenizer_json(learned, STEPS[request.param][0])
        yield from opened(with_tokenizer(content, 1024), tmp_path)


@pytest.mark.slow
def test_any_text_becomes_the_same_tokens(both: Both) -> None:
    ours, theirs, content = both
    composed = normalizers.NFC().normalize_str

    @settings(
        max_examples=300, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(TEXTS)
    def check(parts: list[str]) -> None:
        text = composed("".join(parts))
        text = FIRST_SPACE.sub(r"\1", text) if leaves_first_space(content) else text
        [text] = as_prompts([text], content)
        assert theirs(text) == ours(text)

    check()
