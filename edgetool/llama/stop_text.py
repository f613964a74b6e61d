"""What of a completion can be said while it is being written.

Tokens cut characters in pieces, and the beginning of a stop text may turn out to be just text; both
are held back until it is known.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class StopTextFilter:
    """The text of one completion, token by token.

    text      what was given out
    stopped   one of the stop texts came; nothing more is given out
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = [text for text in stop if text]
        self._held = ""
        self.text = ""
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """What is certain now that these bytes were written."""
        return self._say(self._decoder.decode(piece))

    def finish(self) -> str:
        """What only the end made certain."""
        rest = self._say(self._decoder.decode(b"", final=True))
        if self.stopped:
            return rest
        held, self._held = self._held, ""
        self.text += held
        return rest + held

    def _say(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
        else:
            sure = len(self._held) - self._undecided()
            text, self._held = self._held[:sure], self._held[sure:]
        self.text += text
        return text

    def _undecided(self) -> int:
        """Characters at the end that may be the beginning of a stop text."""
        longest = 0
        for stop in self._stop:
            most = min(len(stop) - 1, len(self._held))
            sizes = (size for size in range(most, longest, -1) if self._held.endswith(stop[:size]))
            longest = max(longest, next(sizes, 0))
        return longest
