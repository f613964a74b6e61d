"""What of a tool's schema a call syntax's grammar leaves open; the call is checked behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgetool.calls.schema.normal_form import Normal, children
from edgetool.calls.schema.tree import PATH, Open, SchemaTree, of_tool
from edgetool.calls.syntaxes import CallSyntax, get
from edgetool.calls.syntaxes.rules import text_patterns
from edgetool.calls.types import Tool

# Syntaxes that write text as it is: of arguments only, or inside lists and objects as well.
_PLAIN_ARGUMENTS = ("qwen3_coder",)
_PLAIN_TEXT = ("functiongemma", "gemma4")


def left_open(tool: Tool, syntax: CallSyntax | None = None) -> list[Open]:
    """The keywords that no grammar holds, and with `syntax` those that this one does not."""
    tree = of_tool(tool)
    found: list[Open] = []
    if syntax is not None and syntax.NAME in (*_PLAIN_ARGUMENTS, *_PLAIN_TEXT):
        deep = syntax.NAME in _PLAIN_TEXT
        for name in tree.names:
            found += _plain(tree, tree.argument(name), f"{PATH}.properties.{name}", deep)
    return list(dict.fromkeys([*tree.open_in_arguments, *found]))


def notes(tools: Iterable[Tool], names: Sequence[str]) -> list[str]:
    """What the grammars of these call syntaxes leave open, a line each."""
    found: dict[Open, list[str]] = {}
    for tool in tools:
        for name in names:
            for path, keyword in left_open(tool, get(name)):
                found.setdefault(Open(f"{tool.name}: {path}", keyword), []).append(name)
    return [
        f"{one} is not held by the grammar{whose(listed, names)}"
        # a format is an annotation, which no validator looks at
        + ("" if one.keyword == "format" else "; a call is checked for it once it is written")
        for one, listed in found.items()
    ]


def whose(listed: Sequence[str], names: Sequence[str]) -> str:
    """Which of the call syntaxes are meant; nothing where it is all of them."""
    return "" if len(listed) == len(names) else f" of {', '.join(listed)}"


def _plain(tree: SchemaTree, node: Normal, path: str, deep: bool) -> Iterator[Open]:
    """What text without quotes leaves open of a string's keywords."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        for one in tree.alternatives(waiting.pop()):
            if not isinstance(one, dict) or id(one) in seen:
                continue
            seen.add(id(one))
            if one.get("type") == "string":
                if "format" in one:
                    yield Open(path, "format")
                if len(text_patterns(one)) < ("pattern" in one) + len(one.get("allOf", ())):
                    yield Open(path, "pattern")
            elif deep:
                waiting += children(one)
