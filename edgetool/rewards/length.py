"""Few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.rewards.registry import reward

ROOM = 2  # times the JSON of the expected calls, so that every call syntax's markup fits


@reward("length")
def length(
    completions: Sequence[Any], calls: Sequence[Sequence[dict[str, Any]]], **columns: Any
) -> list[float | None]:
    """1 up to twice the characters of the expected calls as JSON, then falling as 1 / characters.

    Nothing to say where no call is expected. Right or wrong does not matter to it.
    """
    return [
        _share(completion[0]["content"].strip(), expected)
        for completion, expected in zip(completions, calls, strict=True)
    ]


def _share(text: str, expected: Sequence[dict[str, Any]]) -> float | None:
    if not expected:
        return None
    room = ROOM * sum(
        len(dumps({"name": call["name"], "arguments": call["arguments"]})) for call in expected
    )
    return min(1.0, room / len(text)) if text else 1.0
