"""What a GGUF file says about itself. Nothing of it is loaded into llama.cpp, nothing believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.prompt.kit_template import family_of
from edgetool.calls.prompt.template_choice import why_tools_are_hidden
from edgetool.calls.syntaxes import SYNTAX_KEY
from edgetool.gguf_base.reader import GgufHeader, read_gguf

TEMPLATE = "tokenizer.chat_template"
LONG = 8  # arrays with more entries are shown by their length


@dataclass(frozen=True)
class TensorInfo:
    """shape: numpy order, rows last; size in bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class ToolSupport:
    """Whether the chat template shows tools to the model.

    why           it does not: there is no template, or what it did with a tool
    call_syntax   what the file names, or what its template teaches
    replacement   the family whose template edgetool takes instead, where it does not; None: it
                  takes none
    """

    renders: bool
    why: str | None
    call_syntax: str | None
    replacement: str | None = None


@dataclass(frozen=True)
class Inspection:
    """A GGUF file. metadata: every key but the template; long arrays by their length."""

    path: Path
    size: int
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    template: str | None
    tools: ToolSupport

    @property
    def types(self) -> dict[str, dict[str, int]]:
        """Tensors and bytes by ggml type, the largest share first."""
        found: dict[str, dict[str, int]] = {}
        for tensor in self.tensors:
            entry = found.setdefault(tensor.type, {"tensors": 0, "bytes": 0})
            entry["tensors"] += 1
            entry["bytes"] += tensor.size
        return dict(sorted(found.items(), key=lambda item: -item[1]["bytes"]))

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "size": self.size,
            "parameters": self.parameters,
            "types": self.types,
            "tokenizer": {
                key.removeprefix("tokenizer.ggml."): value
                for key, value in self.metadata.items()
                if key.startswith("tokenizer.ggml.")
            },
            "tools": vars(self.tools),
            "chat_template": self.template,
            "metadata": dict(self.metadata),
            "tensors": [vars(tensor) | {"shape": list(tensor.shape)} for tensor in self.tensors],
        }


def inspect_gguf(path: Path) -> Inspection:
    """Raises ModelError for a file that is no whole GGUF file."""
    found = read_gguf(path)
    metadata = {key: _value(found, key) for key in found.fields}
    tensors = tuple(
        TensorInfo(tensor.name, tensor.kind, tensor.shape, tensor.size)
        for tensor in found.tensors.values()
    )
    template = metadata.pop(TEMPLATE, None)
    template = template if isinstance(template, str) else None
    support = _tool_support(template, metadata.get(SYNTAX_KEY))
    return Inspection(path, path.stat().st_size, metadata, tensors, template, support)


def _value(found: GgufHeader, key: str) -> Any:
    """A metadata value as JSON has it."""
    value = found.fields[key]
    if isinstance(value, list) and len(value) > LONG:
        return f"{len(value)} x {found.arrays[key]}"
    return _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _tool_support(template: str | None, named: Any) -> ToolSupport:
    if template is None:
        return ToolSupport(False, "no chat template in the file", None)
    syntax = named if isinstance(named, str) else syntaxes.detect(template).NAME
    problem = why_tools_are_hidden(template)
    return ToolSupport(problem is None, problem, syntax, problem and family_of(template))
