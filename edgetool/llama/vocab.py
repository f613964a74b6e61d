"""What a GGUF file says about each token: its bytes, its kind, whether it ends a text."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgetool.errors import UsageError
from edgetool.llama.prompt_limit import WHITE_SPACE, ink

_PIECE_BYTES = 256


@dataclass(frozen=True)
class Vocabulary:
    """The V tokens of a model.

    pieces    [V] the bytes a token adds to a text; none for control tokens
    markers   text -> id of every control and user-defined token
    stop_ids  the tokens that end a completion, the file's own eos first
    alphabet  the characters it can write; None: all of them
    longest   the most ink (see `prompt_limit.py`) a token stands for; 0: not known
    blank     the bytes that are no ink
    """

    pieces: tuple[bytes, ...]
    markers: dict[str, int]
    stop_ids: tuple[int, ...]
    bos_token: str
    eos_token: str
    alphabet: frozenset[str] | None = None
    longest: int = 0
    blank: bytes = WHITE_SPACE

    @property
    def size(self) -> int:
        return len(self.pieces)

    def speaking(self, markers: Iterable[str]) -> Vocabulary:
        """The same, with text for these markers where they are control tokens."""
        texts = {self.markers[marker]: marker.encode() for marker in markers}
        pieces = (texts.get(token, piece) for token, piece in enumerate(self.pieces))
        return replace(self, pieces=tuple(pieces))

    def text(self, token_ids: list[int]) -> str:
        """Text of ids; bytes cut inside a character become U+FFFD."""
        return b"".join(self.pieces[token] for token in token_ids).decode("utf-8", "replace")

    def require_writable(self, text: str) -> None:
        """Raises UsageError for a character without a token: llama.cpp would end its process."""
        missing = set(text) - self.alphabet if self.alphabet is not None else ()
        if missing:
            raise UsageError(
                f"this model has no token for {min(missing)!r}, nor for the bytes of it; leave it "
                "out of the request, or use a model whose vocabulary has bytes"
            )


def read_vocabulary(vocab: Any) -> Vocabulary:
    """`vocab` is llama.cpp's own pointer, `llama_model_get_vocab(model)`."""
    import llama_cpp

    size = llama_cpp.llama_vocab_n_tokens(vocab)
    marker_kinds = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    markers = {
        _raw_text(vocab, token): token
        for token in range(size)
        if llama_cpp.llama_vocab_get_attr(vocab, token) & marker_kinds
    }
    pieces = tuple(_piece(vocab, token) for token in range(size))
    blank = _blank(vocab, pieces)
    return Vocabulary(
        pieces=pieces,
        markers={text: token for text, token in markers.items() if text},
        stop_ids=_stop_ids(vocab, size),
        bos_token=_raw_text(vocab, _bos(vocab)),
        eos_token=_raw_text(vocab, llama_cpp.llama_vocab_eos(vocab)),
        alphabet=_alphabet(vocab, size),
        longest=_longest(vocab, [*pieces, *(marker.encode() for marker in markers)], blank),
        blank=blank,
    )


def _blank(vocab: Any, pieces: Sequence[bytes]) -> bytes:
    """Bytes of a text that a tokenizer may leave out without a token."""
    import llama_cpp

    if llama_cpp.llama_vocab_type(vocab) != llama_cpp.LLAMA_VOCAB_TYPE_BPE:
        return WHITE_SPACE
    written = {piece for piece in pieces if len(piece) == 1}
    return WHITE_SPACE + bytes(v for v in range(256) if bytes([v]) not in written)


def _longest(vocab: Any, texts: Iterable[bytes], blank: bytes) -> int:
    """Of a vocabulary that changes no byte; `texts` are those of its tokens."""
    import llama_cpp

    kinds = (llama_cpp.LLAMA_VOCAB_TYPE_SPM, llama_cpp.LLAMA_VOCAB_TYPE_BPE)
    if llama_cpp.llama_vocab_type(vocab) not in kinds:
        return 0
    return max(1, *(ink(text, blank) for text in texts))


def _stop_ids(vocab: Any, size: int) -> tuple[int, ...]:
    """What llama.cpp ends a text with: what the file calls eos, eot or eom, and tokens it knows."""
    import llama_cpp

    found = [token for token in range(size) if llama_cpp.llama_vocab_is_eog(vocab, token)]
    eos = llama_cpp.llama_vocab_eos(vocab)
    return tuple(sorted(found, key=lambda token: token != eos))


def _alphabet(vocab: Any, size: int) -> frozenset[str] | None:
    """Of a SentencePiece vocabulary without tokens for bytes."""
    import llama_cpp

    if llama_cpp.llama_vocab_type(vocab) != llama_cpp.LLAMA_VOCAB_TYPE_SPM:
        return None
    texts = {_raw_text(vocab, token) for token in range(size)}
    if "<0xFF>" in texts:
        return None
    return frozenset({" "} | {text for text in texts if len(text) == 1})


def _bos(vocab: Any) -> int:
    """The token that opens a text, or -1. GGUF files of models without one name the stop token."""
    import llama_cpp

    bos = int(llama_cpp.llama_vocab_bos(vocab))
    stands_in = bos == llama_cpp.llama_vocab_eos(vocab)
    return -1 if stands_in and not llama_cpp.llama_vocab_get_add_bos(vocab) else bos


def _raw_text(vocab: Any, token: int) -> str:
    import llama_cpp

    if token < 0:  # the model has no such token
        return ""
    return bytes(llama_cpp.llama_vocab_get_text(vocab, token)).decode("utf-8", "replace")


def _piece(vocab: Any, token: int) -> bytes:
    import llama_cpp

    # special=False leaves control tokens out and keeps user-defined ones such as <tool_call>
    buffer = ctypes.create_string_buffer(_PIECE_BYTES)
    count = llama_cpp.llama_token_to_piece(vocab, token, buffer, _PIECE_BYTES, 0, False)
    if count < 0:
        buffer = ctypes.create_string_buffer(-count)
        count = llama_cpp.llama_token_to_piece(vocab, token, buffer, -count, 0, False)
    return buffer.raw[:count]
