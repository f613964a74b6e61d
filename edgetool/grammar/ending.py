"""A short way to end a completion from wherever the grammar stands.

Strings and the number of calls have no bound of their own in most schemas, so a model that loops
is cut by max_completion_length and leaves half a call. With a way to end known at every token, the
completion can be closed while there is still room. The way is found greedily on a copy of the
matcher: stop where that is allowed, else close what is open, else take what the grammar forces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgetool.calls.prompt.thinking import Thought
from edgetool.errors import EngineError
from edgetool.grammar.loops import digit_tokens

_STRING_CLOSERS = re.compile(rb'"[}\]]*')
_CLOSERS = re.compile(rb"[}\]]+")
_COMMAS = re.compile(rb", ?")
_PLAIN = re.compile(rb"[0-9A-Za-z]+")
# llguidance's word for a grammar that nothing can follow: it stops before its stop token was said.
_UNSAID = "NoExtension"
_LETTER = b"x"  # begins no JSON value, so it is allowed inside strings alone


class Ender:
    """Finds endings for one vocabulary, given by llguidance's tokenizer.

    stops    the tokens that end a completion
    pieces   [V] the bytes of each token; none of what is no text
    digits   the tokens that begin with a digit
    worded   those of them that are text to the engine, and so would be allowed inside a string
    """

    def __init__(self, tokenizer: Any) -> None:
        size = tokenizer.vocab_size
        self.pieces = pieces = [
            b"" if tokenizer.is_special_token(token) else tokenizer.decode_bytes([token])
            for token in range(size)
        ]
        self.stops: list[int] = list(tokenizer.eos_tokens)
        self.worded = [stop for stop in self.stops if not tokenizer.is_special_token(stop)]
        if _LETTER not in pieces:
            raise EngineError(
                f"no token is the letter {_LETTER.decode()}: the vocabulary is damaged"
            )
        self._letter = pieces.index(_LETTER)
        self.digits = digit_tokens(pieces)
        brackets, quotes, commas = (
            sorted(
                (token for token in range(size) if shape.fullmatch(pieces[token])),
                key=lambda token: -len(pieces[token]),
            )
            for shape in (_CLOSERS, _STRING_CLOSERS, _COMMAS)
        )
        self._in_string = quotes
        # Outside a string '"' opens one: close lists and objects first. A comma ends a number,
        # which could go on for ever.
        self._outside = [*brackets, *quotes, *commas]
        rank = [
            (not piece, not _PLAIN.fullmatch(piece), piece.endswith(b'"'), -len(piece))
            for piece in pieces
        ]
        self._order = np.array(sorted(range(size), key=rank.__getitem__))

    def find(self, matcher: Any, remaining: int, first: Sequence[int] = ()) -> list[int] | None:
        """At most `remaining` tokens that end the completion, the last a stop token; else None.

        first   what closes a thought that may be open
        """
        copy = matcher.deep_copy()
        found: list[int] = []
        closing = list(first)
        while len(found) < remaining and not copy.is_stopped():
            if closing and copy.validate_tokens(closing) == len(closing):
                copy.consume_tokens(closing)
                tokens, closing = closing, []
            else:
                tokens = self._next(copy)
            if not tokens:
                return None
            found += tokens
        if not copy.is_stopped():
            return None
        if copy.stop_reason() == _UNSAID:
            found.append(self.stops[0])
        return found if len(found) <= remaining else None

    def in_string(self, matcher: Any) -> bool:
        """Words may come next, as they may in strings and in prose."""
        return bool(matcher.validate_tokens([self._letter]))

    def _next(self, matcher: Any) -> list[int]:
        """The next tokens of a short ending, which the matcher has then consumed."""
        in_string = self.in_string(matcher)
        for token in [*self.stops, *(self._in_string if in_string else self._outside)]:
            if matcher.try_consume_tokens([token]):
                return [token]
        forced: list[int] = matcher.compute_ff_tokens()
        if forced:
            return forced if matcher.consume_tokens(forced) else []
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little").view(bool)[self._order]
        best = int(allowed.argmax())
        token = int(self._order[best])
        return [token] if allowed[best] and matcher.consume_token(token) else []


@dataclass(frozen=True)
class ThoughtWatch:
    """Whether a completion is still in its leading thought, which only its text can tell.

    closing   the tokens that close the thought
    texts     the bytes of markers, which `pieces` [V] has none of
    """

    thought: Thought
    closing: Sequence[int]
    texts: Mapping[int, bytes]
    pieces: Sequence[bytes]
    written: bytes = b""

    def after(self, tokens: Sequence[int]) -> ThoughtWatch | None:
        """With further tokens written; None once the answer has begun."""
        more = b"".join(self.texts.get(token, self.pieces[token]) for token in tokens)
        written = self.written + more
        begun = self.thought.ends_in(written.decode("utf-8", "replace")) is not None
        return None if begun else replace(self, written=written)
