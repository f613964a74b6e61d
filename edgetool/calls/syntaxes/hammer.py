"""Hammer's call syntax: a JSON list of calls in a code fence.

    ```
    [{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    ```

`[]` in the fence means that no tool is called. A list without a fence is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgetool.calls.syntaxes import json_list
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Tool, ToolCall

NAME = "hammer"
START = "```"
END = "```"

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


def render(calls: Sequence[ToolCall]) -> str:
    return f"{START}\n{json_list.render(calls)}\n{END}"


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    fence = _FENCED.fullmatch(text)
    return json_list.parse(fence[1] if fence and fence[1].strip() else text)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """The fence around the grammar of the plain list."""
    first, _, rest = json_list.grammar(tools, required=required).partition("\n")
    inner = first.removeprefix("start: ")
    return f'start: "{START}\\n" {inner} "\\n{END}"\n{rest}'.rstrip("\n")


def detect(template: str) -> bool:
    return "[BEGIN OF FORMAT INSTRUCTION]" in template
