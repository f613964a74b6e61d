"""Text of a stranger on a terminal, which takes control characters for orders."""

from __future__ import annotations


def printable(text: str, *, keep: str = "\n", instead: str | None = None) -> str:
    """The text without control characters.

    keep      those that stay
    instead   what stands for each other one; None: its number, as in "\\x1b"
    """
    return "".join(
        sign if sign.isprintable() or sign in keep else _instead(sign, instead) for sign in text
    )


def _instead(sign: str, instead: str | None) -> str:
    return f"\\x{ord(sign):02x}" if instead is None else instead


def clipped(text: str, most: int) -> str:
    """The text, of which no more than `most` characters are shown."""
    return text if len(text) <= most else text[: most - 1] + "…"
