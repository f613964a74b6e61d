"""Whether a prompt fits the context, told as early as it can be.

Tokenizing a text of megabytes takes seconds, only to refuse it. A lower bound on its tokens needs
nothing but its length:

    tokens >= ink(text) / longest

Ink are the bytes that take a token, `longest` the most of them that any token stands for. Every
byte of ink of a text is part of some token: llama.cpp's BPE and SentencePiece change no byte of a
text. They swallow ASCII white space (beside control tokens), and BPE drops a byte that the
vocabulary has no token for; these bytes are no ink. Other kinds of vocabulary normalize; for them
there is no bound (`longest` is 0).

A template may leave out what it was given, such as the thoughts of earlier turns. So before it is
rendered only what users say counts, and only for templates that were seen to show all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.types import Message
from edgetool.errors import EdgetoolError, PromptTooLong

WHITE_SPACE = b" \t\n\v\f\r"  # what C's isspace knows, and llama.cpp with it
_PROBES = ("Ea7q", "Zp3k")


def ink(text: str | bytes, blank: bytes) -> int:
    """Bytes of a text that are not among the `blank` ones."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return len(data.translate(None, blank))


@dataclass(frozen=True)
class Room:
    """What a context holds.

    name      the model file's, for messages
    limit     tokens of a prompt and its completion
    longest   ink that one token stands for at most; 0: not known
    blank     the bytes that are no ink
    shown     the template shows all that users say
    """

    name: str
    limit: int
    longest: int = 0
    blank: Sequence[int] = tuple(WHITE_SPACE)
    shown: bool = False

    def require(self, prompt_ids: Sequence[int]) -> None:
        """Raises PromptTooLong where there is no room for a completion of a prompt [P]."""
        if not prompt_ids:
            raise ValueError("a prompt needs at least one token")
        if len(prompt_ids) >= self.limit:
            raise self._too_long(str(len(prompt_ids)))

    def require_possible(self, texts: Iterable[str]) -> None:
        """Raises PromptTooLong where a prompt of these texts cannot fit, however it is cut."""
        if not self.longest:
            return
        blank = bytes(self.blank)
        least = -(-sum(ink(text, blank) for text in texts) // self.longest)
        if least >= self.limit:
            raise self._too_long(f"at least {least}")

    def require_possible_messages(self, messages: Iterable[Message]) -> None:
        """As `require_possible`, before the template has rendered a conversation."""
        if self.shown:
            self.require_possible(
                str(message.get("content") or "")
                for message in messages
                if message["role"] == "user"
            )

    def _too_long(self, tokens: str) -> PromptTooLong:
        return PromptTooLong(
            f"{self.name}: the prompt has {tokens} tokens, but the context holds "
            f"{self.limit} with the completion; offer fewer tools, shorten the conversation or "
            f"open the model with a larger --context (if it was trained for one)"
        )


def shows_users(prompter: Prompter) -> bool:
    """The template writes down what a user says, in the last turn and in an earlier one."""
    first, last = ({"role": "user", "content": probe} for probe in _PROBES)
    between = {"role": "assistant", "content": "ok"}
    try:
        text = "".join(prompter.pieces([first, between, last], ()))
    except EdgetoolError:
        return False
    return all(probe in text for probe in _PROBES)
