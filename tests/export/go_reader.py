"""A reader of Go templates, and what Ollama does with one: both from their documentation.

The language is that of https://pkg.go.dev/text/template as far as ours use it: if, else, range,
end, variables and a few functions. Ollama fills in .System, .Tools and .Messages, with `json` as a
function of its own. Since 0.14 tools are structs with no text of their own, so that a bare
`{{ .Function }}` writes Go's notation; arguments still write themselves as JSON. To find calls in a
completion, Ollama looks for the first text inside `{{ if .ToolCalls }}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ACTION = re.compile(r"\{\{(- )?\s*(.*?)\s*( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|:=|[()|,]|[^\s()|,]+')


class Struct(dict[str, Any]):
    """A Go struct: fields by their Go name; `text` is what it writes, Go's notation without one."""

    def __init__(self, fields: Mapping[str, Any], as_json: Any, text: str | None = None) -> None:
        super().__init__(fields)
        self.as_json, self.text = as_json, text


@dataclass
class Node:
    """A text, an action, an `if` or a `range` with its two branches."""

    kind: str
    code: str
    then: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


def parse(template: str) -> list[Node]:
    """Raises SyntaxError for what is no template."""
    pieces = list(_pieces(template))
    nodes, rest = _block(pieces)
    if rest:
        raise SyntaxError(f"unexpected {rest[0]}")
    return nodes


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    place, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[place : match.start()]
        text = text.lstrip() if trim else text
        yield "text", text.rstrip() if match[1] else text
        yield "action", match[2]
        place, trim = match.end(), bool(match[3])
    rest = template[place:]
    if "{{" in rest:
        raise SyntaxError(f"an action without end: {rest!r}")
    yield "text", rest.lstrip() if trim else rest


def _block(pieces: list[tuple[str, str]]) -> tuple[list[Node], list[tuple[str, str]]]:
    nodes: list[Node] = []
    while pieces:
        kind, code = pieces[0]
        word = code.split(" ")[0] if kind == "action" else ""
        if word in ("end", "else"):
            return nodes, pieces
        pieces = pieces[1:]
        if word in ("if", "range"):
            node = Node(word, code.removeprefix(word).strip())
            node.then, pieces = _block(pieces)
            node.otherwise, pieces = _else(pieces)
            nodes.append(node)
        elif kind == "action" or code:
            nodes.append(Node(kind, code))
    return nodes, []


def _else(pieces: list[tuple[str, str]]) -> tuple[list[Node], list[tuple[str, str]]]:
    if not pieces:
        raise SyntaxError("no end")
    code, rest = pieces[0][1], pieces[1:]
    if code == "end":
        return [], rest
    if code == "else":
        nodes, rest = _block(rest)
        if not rest or rest[0][1] != "end":
            raise SyntaxError("no end")
        return nodes, rest[1:]
    raise SyntaxError(f"not read here: {code}")


def render(template: str, values: Mapping[str, Any]) -> str:
    """What Go writes."""
    return "".join(_run(parse(template), values, {"$": values}))


def _run(nodes: Sequence[Node], dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    variables = dict(variables)
    for node in nodes:
        if node.kind == "text":
            yield node.code
        elif node.kind == "action":
            if declared := re.match(r"(\$\w+) := (.*)", node.code, re.DOTALL):
                variables[declared[1]] = _value(declared[2], dot, variables)
            else:
                yield _printed(_value(node.code, dot, variables))
        elif node.kind == "if":
            branch = node.then if _true(_value(node.code, dot, variables)) else node.otherwise
            yield from _run(branch, dot, variables)
        else:
            yield from _range(node, dot, variables)


def _range(node: Node, dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    declared = re.match(r"(\$\w+), (\$\w+) := (.*)", node.code, re.DOTALL)
    found = _value(declared[3] if declared else node.code, dot, variables)
    # Go ranges over a map in the order of its keys
    pairs = sorted(found.items()) if isinstance(found, dict) else list(enumerate(found or ()))
    for key, value in pairs:
        own = {declared[1]: key, declared[2]: value} if declared else {}
        yield from _run(node.then, value, variables | own)
    if not pairs:
        yield from _run(node.otherwise, dot, variables)


def _value(code: str, dot: Any, variables: Mapping[str, Any]) -> Any:
    tokens = _TOKEN.findall(code)
    value, rest = _command(tokens, dot, variables)
    if rest:
        raise SyntaxError(f"unexpected {rest} in {code!r}")
    return value


def _command(tokens: list[str], dot: Any, variables: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """A function with its operands, or one operand."""
    name, operands = tokens[0], []
    if name not in FUNCTIONS:
        value, rest = _operand(tokens, dot, variables)
        return value, rest
    tokens = tokens[1:]
    while tokens and tokens[0] != ")":
        value, tokens = _operand(tokens, dot, variables)
        operands.append(value)
    return FUNCTIONS[name](*operands), tokens


def _operand(tokens: list[str], dot: Any, variables: Mapping[str, Any]) -> tuple[Any, list[str]]:
    token, rest = tokens[0], tokens[1:]
    if token == "(":
        value, rest = _command(rest, dot, variables)
        if not rest or rest[0] != ")":
            raise SyntaxError("no )")
        return value, rest[1:]
    if token[0] in '"`':
        return json.loads(token) if token[0] == '"' else token[1:-1], rest
    if token.lstrip("-").isdigit():
        return int(token), rest
    if not token.startswith((".", "$")):
        raise SyntaxError(f"function {token!r} is not defined")
    start, _, path = token.partition(".")
    value = variables[start] if start else dot
    for name in filter(None, path.split(".")):
        value = value[name]  # a field that a struct lacks is an error, as it is in Go
    return value, rest


def _true(value: Any) -> bool:
    return bool(value) or isinstance(value, Struct)


def _printed(value: Any) -> str:
    if isinstance(value, Struct):
        return value.text if value.text is not None else _in_gos_notation(value)
    return str(value)


def _in_gos_notation(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(map(_in_gos_notation, value.values())) + "}"
    return str(value)


def _json(value: Any) -> str:
    plain = value.as_json if isinstance(value, Struct) else value
    return json.dumps(plain, ensure_ascii=False)


FUNCTIONS = {
    "and": lambda *values: next((v for v in values if not _true(v)), values[-1]),
    "or": lambda *values: next((v for v in values if _true(v)), values[-1]),
    "not": lambda value: not _true(value),
    "eq": lambda one, *others: one in others,
    "ne": lambda one, other: one != other,
    "len": len,
    "slice": lambda value, start=0, end=None: value[start:end],
    "print": lambda *values: "".join(map(_printed, values)),
    "json": _json,
}


def tag(template: str) -> str:
    """What Ollama takes for the beginning of a call in a completion."""
    found = _if_calls(parse(template))
    text = _first_text(found.then) if found else None
    if text is None:
        return "{"
    return text.partition("{")[0].strip() or "{"


def _if_calls(nodes: Sequence[Node]) -> Node | None:
    for node in nodes:
        if node.kind == "if" and ".ToolCalls" in node.code:
            return node
        if found := _if_calls(node.then) or _if_calls(node.otherwise):
            return found
    return None


def _first_text(nodes: Sequence[Node]) -> str | None:
    """Depth first, and no further than the first action."""
    for node in nodes:
        if node.kind == "text":
            if node.code.strip():
                return node.code
        elif node.kind == "action":
            return None
        else:
            return _first_text(node.then) or _first_text(node.otherwise)
    return None


def calls_in(completion: str, marker: str, names: Sequence[str]) -> list[tuple[str, Any]]:
    """The calls that Ollama finds behind the marker: a tool's name, then its arguments in JSON."""
    before, found, rest = completion.partition(marker)
    if not found or (marker in "{[" and before.strip()):
        return []
    calls = []
    rest = marker + rest
    while True:
        places = [(rest.find(name), name) for name in names if name in rest]
        if not places:
            return calls
        place, name = min(places)
        found_arguments = _object_behind(rest, place + len(name))
        if found_arguments is None:
            return calls
        arguments, end = found_arguments
        calls.append((name, arguments))
        rest = rest[end:]


def _object_behind(text: str, place: int) -> tuple[Any, int] | None:
    for match in re.compile(r"\{").finditer(text, place):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.start())
        except ValueError:
            continue
        return value, end
    return None
