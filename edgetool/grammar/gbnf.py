"""The arm gbnf: llama.cpp's own grammar.

The grammar is a call syntax's, put into GBNF; schemas go through the converter that comes with
llama-cpp-python. That converter drops what it does not know (a maximum, a pattern's anchors), and
llama.cpp ends its process over grammars that expand too far, so a schema has to keep within limits:
one that does not is left unconstrained and says why. Run it in a process of its own
(llama/pool_worker.py).
"""

from __future__ import annotations

import ctypes
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.calls.json_text import INVALID, loads
from edgetool.calls.types import Tool
from edgetool.errors import EngineError
from edgetool.grammar.llguidance import Counting, OpenModel

# What the converter turns into exactly what the schema says, with the words that restrict nothing.
HELD = frozenset(
    "type properties required items enum const anyOf additionalProperties "
    "description title default examples $id x-guidance".split()
)
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
MAX_DEPTH = 8
MAX_PROPERTIES = 128
MAX_ENUM = 200
MAX_GRAMMAR = 64 * 1024

# The converter's characters of a string, which may be control characters as JSON's may not.
_CHAR = re.compile(r"^char ::= .*$", re.MULTILINE)
_JSON_CHAR = (
    r"""char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] """
    r"[0-9a-fA-F])"
)

_RULE = re.compile(r"(\w+): (.*)")
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/|\w+|[()|*+?]|\s+')
_CLASSES = re.compile(r"(?:\[(?:[^\]\\]|\\.)*\][*+?]?)+")
_ONE_CLASS = re.compile(r"\[(?:[^\]\\]|\\.)*\][*+?]?")


class GBNFMaker:
    """Makes constraints for the model of a session."""

    def __init__(self, session: OpenModel) -> None:
        self._session = session
        self._kept: tuple[str, str] = ("", "")  # the last grammar: rows with its tools follow it

    def __call__(self, tools: Sequence[Tool]) -> GBNFConstraint:
        """Raises EngineError for tools that are not within limits."""
        lark = self._session.syntax.grammar(tools)
        if self._kept[0] != lark:
            self._kept = lark, to_gbnf(lark)
        return GBNFConstraint(self._session, self._kept[1])


class GBNFConstraint(Counting):
    """What one completion may say next, by llama.cpp. It may run into max_completion_length."""

    def __init__(self, session: OpenModel, grammar: str) -> None:
        import llama_cpp

        super().__init__()
        vocab = llama_cpp.llama_model_get_vocab(session.engine.llama.model)
        self._sampler = llama_cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
        if not self._sampler:
            raise EngineError("llama.cpp cannot read the grammar of these tools")
        weakref.finalize(self, llama_cpp.llama_sampler_free, self._sampler)

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        import llama_cpp

        entries = np.zeros(len(logits), [("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        entries["id"], entries["logit"] = np.arange(len(logits)), logits
        pointer = entries.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        array = llama_cpp.llama_token_data_array(pointer, len(logits), -1, False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        masked = np.full_like(logits, -np.inf)
        masked[entries["id"]] = entries["logit"]
        allowed = np.isfinite(masked)
        if not allowed.any():
            raise EngineError("llama.cpp's grammar allows no token here")
        self._note(logits, allowed)
        return masked

    def advance(self, token: int, remaining: int) -> int:
        import llama_cpp

        llama_cpp.llama_sampler_accept(self._sampler, token)
        return token


def to_gbnf(lark: str) -> str:
    """A call syntax's grammar (see calls.syntaxes) in GBNF, its start rule as "root".

    Raises EngineError for what GBNF, or the converter of schemas, cannot say.
    """
    from llama_cpp.llama_grammar import SchemaConverter

    converter = SchemaConverter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    rules = []
    for line in filter(None, map(str.strip, lark.splitlines())):
        rule = _RULE.fullmatch(line)
        if rule is None:
            raise EngineError(f"this call syntax has no form in GBNF: {line[:60]}")
        name, body = _name(rule[1]), rule[2]
        if body.startswith("%json "):
            schema = loads(body.removeprefix("%json "))
            _require_limits(schema)
            body = converter.visit(schema, f"{name}-json")
        else:
            body = _body(body)
        rules.append(f"{name} ::= {body}")
    text = "\n".join([*rules, _CHAR.sub(lambda _: _JSON_CHAR, converter.format_grammar())])
    if len(text) > MAX_GRAMMAR:
        raise EngineError(f"the grammar of these tools is {len(text)} characters long in GBNF")
    return text


def _name(rule: str) -> str:
    return "root" if rule == "start" else rule.replace("_", "-")


def _body(text: str) -> str:
    parts, end = [], 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        end = part.end()
        word = part[0]
        if word.startswith("/"):
            word = _pattern(word[1:-1])
        elif re.fullmatch(r"\w+", word):
            word = _name(word)
        parts.append(word)
    if end != len(text):
        raise EngineError(f"this call syntax has no form in GBNF: {text[end : end + 60]}")
    return "".join(parts)


def _pattern(regex: str) -> str:
    """A regular expression that is nothing but character classes."""
    if not _CLASSES.fullmatch(regex):
        raise EngineError(f"this call syntax has no form in GBNF: /{regex}/")
    return " ".join(_ONE_CLASS.findall(regex)).replace(r"\s", r" \t\r\n")


def _require_limits(schema: Any) -> None:
    count = 0
    for depth, part in _parts(schema):
        count += len(part.get("properties", {}))
        odd = sorted(set(part) - HELD)
        if odd:
            raise EngineError(f"llama.cpp's converter does not hold {odd[0]!r} of a schema")
        if part.get("additionalProperties", False) is not False:
            raise EngineError("the schema leaves names of arguments open")
        if not {"enum", "const", "anyOf"} & set(part) and part.get("type") not in TYPES:
            raise EngineError(f"the schema has a part of type {part.get('type')!r}")
        if depth > MAX_DEPTH or count > MAX_PROPERTIES or len(part.get("enum", ())) > MAX_ENUM:
            raise EngineError("the schema is too large for llama.cpp's grammar")


def _parts(schema: Any, depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """A schema and every schema in it, with how deep each stands."""
    if schema is INVALID or not isinstance(schema, Mapping):
        raise EngineError("the schema is nested too deeply or holds what is no schema")
    yield depth, schema
    for inner in schema.get("properties", {}).values():
        yield from _parts(inner, depth + 1)
    for inner in [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]:
        yield from _parts(inner, depth + 1)
