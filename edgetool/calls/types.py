"""The three value objects of edgetool: Tool, ToolCall and Example.

Everything that crosses a module border is one of these; JSON in any dialect is turned into them at
the entry point (`edgetool.data`) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]
Message = dict[str, Any]  # {"role": ..., "content": ..., ...} as chat templates take it

# The rules a row's calls are judged by, see `match`.
STRICT = "strict"
BFCL = "bfcl"
RULES = (STRICT, BFCL)


@dataclass(frozen=True)
class Tool:
    """A function the model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: JsonObject

    def __hash__(self) -> int:
        """By name, so that what is made of a tool (a validator, its text) can be kept beside it."""
        return hash(self.name)

    def as_openai(self) -> JsonObject:
        """The form chat templates and OpenAI clients expect."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("required", ()))


@dataclass(frozen=True)
class ToolCall:
    """One call: a tool's name and its arguments as a JSON object."""

    name: str
    arguments: JsonObject = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        return {"name": self.name, "arguments": self.arguments}


@dataclass(frozen=True)
class ExpectedCall(ToolCall):
    """A call the row asks for, with what else would be right.

    `alternatives[argument]` lists further accepted values; `optional` names arguments that may be
    left out. Both are empty for most data sets.
    `bfcl` is the answer as BFCL spells it, for a judge that goes by BFCL's rules: accepted values
    by argument, inside objects accepted values by key, and "" among those that may be left out.
    """

    alternatives: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    bfcl: Mapping[str, Sequence[Any]] | None = None

    def accepted(self, argument: str) -> tuple[Any, ...]:
        """Every right value of `argument`, the row's own first."""
        return (self.arguments[argument], *self.alternatives.get(argument, ()))


@dataclass(frozen=True)
class Example:
    """One row: the conversation so far, the tools on offer and the calls expected.

    `calls == ()` means that no tool should be called; `completion` is what the assistant said
    instead, where the row tells. `rules` is one of RULES. `metadata` is what is known of the row
    beside, and no model sees it: where it is from, the service of each tool, whether it may only be
    evaluated on. `columns` is what else the row's file holds, for reward functions that want it.
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    calls: tuple[ExpectedCall, ...]
    completion: str | None = None
    rules: str = STRICT
    metadata: JsonObject = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def utterance(self) -> str:
        """What the user said first; rows of one conversation share it."""
        said = (m.get("content") for m in self.messages if m.get("role") == "user")
        return next((text for text in said if text), "")
