"""Whether a chat template shows a tool to the model: found out by rendering it with one."""

from __future__ import annotations

from edgetool.calls.prompt import render_prompt
from edgetool.calls.types import Tool
from edgetool.errors import ModelError

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
