"""edgetool: teach a small language model to call your tools, and ship it as one GGUF file.

What a Python program may import, each loaded when it is first asked for:

    load_config    YAML and overrides -> a checked configuration
    load_rows      rows.jsonl -> examples
    load_tools     tools.json or tools.py -> tools
    train          a configuration -> a trained run folder
    export_gguf    a base model, with an adapter or without -> GGUF files and their receipt
    LlamaSession   a GGUF file, opened in llama.cpp
    ask            a question with tools on offer -> calls and prose
    judge          calls and the calls that are right -> what is wrong

Everything else is internal and may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_config": "edgetool.config:load_config",
    "load_rows": "edgetool.data.rows:load_rows",
    "load_tools": "edgetool.data.tool_files:load_tools",
    "train": "edgetool.commands.train:run_training",
    "export_gguf": "edgetool.export.export:export_gguf",
    "LlamaSession": "edgetool.llama.session:LlamaSession",
    "ask": "edgetool.chat.ask:ask",
    "judge": "edgetool.calls.judge.match:judge",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgetool' has no attribute {name!r}")
    module, _, own_name = _HOMES[name].partition(":")
    return getattr(import_module(module), own_name)


def __dir__() -> list[str]:
    return sorted(__all__)
