"""Render a chat template with one tool, in a process of its own: `python -m` this module.

stdin    the template as JSON
stdout   null when the tool is in the prompt, else what is wrong, as JSON
"""

from __future__ import annotations

import json
import sys

from edgetool.calls.prompt import render_prompt
from edgetool.calls.types import Tool
from edgetool.errors import ModelError

MEMORY = 2**30
TOOL = Tool(
    "edgetool_probe",
    "Probe",
    {"type": "object", "properties": {"edgetool_argument": {"type": "string"}}},
)


def problem_of(template: str) -> str | None:
    """What keeps `template` from showing a tool to the model, None when nothing does."""
    messages = [{"role": "user", "content": "?"}]
    try:
        text = "".join(render_prompt(template, messages, [TOOL], (), bos_token="", eos_token=""))
    except ModelError as error:
        return str(error)
    for part in (TOOL.name, "edgetool_argument"):
        if part not in text:
            return f"the chat template leaves out tools: '{part}' is not in the prompt"
    return None


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    _limit_memory()
    try:
        found = problem_of(json.loads(sys.stdin.read()))
    except (MemoryError, RecursionError, OverflowError) as error:
        found = f"the chat template needs too much ({type(error).__name__})"
    json.dump(found, sys.stdout)
