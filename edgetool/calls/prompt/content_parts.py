"""A message's content in parts: [{"type": "text", "text": ...}, ...]. Only text can be read."""

from __future__ import annotations

from typing import Any

ONLY_TEXT = "only text parts can be read"
_TEXT_TYPES = (None, "text", "input_text", "output_text")


def joined_text(content: Any) -> Any:
    """The text of content in parts; content that comes in no parts, as it is.

    Raises ValueError for a part that is no text: an image, a sound, a file.
    """
    if not isinstance(content, list):
        return content
    if not all(_is_text(part) for part in content):
        raise ValueError(ONLY_TEXT)
    return "".join(part["text"] for part in content)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") in _TEXT_TYPES
        and isinstance(part.get("text"), str)
    )
