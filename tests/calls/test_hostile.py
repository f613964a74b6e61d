"""Schemas made to hurt: no crash, no hang, no flood of memory."""

from __future__ import annotations

import random
import time

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.tools.grammar_check import check_grammars
from edgetool.calls.tools.json_schema import fits
from edgetool.calls.tools.tools import ToolError, tool_from_json
from edgetool.calls.types import Tool


def nested(levels, kind="object"):
    schema = {"type": "integer"}
    for _ in range(levels):
        inner = {"properties": {"x": schema}} if kind == "object" else {"items": schema}
        schema = {"type": kind, **inner}
    return schema


def fan(levels):
    """References that double at each level."""
    defs = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/d0"}, {**defs, f"d{levels}": {"type": "integer"}}


PATTERNS = [
    r"^(a+)+$",
    r"(a|aa)+$",
    r"(?=x)y",
    r"(a)\1",
    r"(.*a){25}",
    r"((a{1,99}){1,99}){1,99}",
    "[",
]
HOSTILE = {
    "deep objects": nested(30),
    "too deep": nested(2_000),
    "deep arrays": nested(31, "array"),
    "huge enum": {"enum": [f"value {i}" for i in range(1000)]},
    "larger enum": {"enum": list(range(100_000))},
    "long text": {"type": "string", "minLength": 10**9},
    "text up to": {"type": "string", "maxLength": 10**9},
    "long list": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    "list up to": {"type": "array", "items": {"type": "string"}, "maxItems": 10**9},
    "recursive": {"$ref": "#"},
    "itself": {"$ref": "#/properties/x"},
    "elsewhere": {"$ref": "http://127.0.0.1:9/x.json"},
    "nowhere": {"$ref": "#/$defs/none"},
    "contradiction": {"type": "integer", "minimum": 5, "maximum": 1},
    "nothing": False,
    "empty enum": {"enum": []},
    "odd type": {"type": "colour"},
    "type of types": {"type": {"a": 1}},
    "not": {"not": {}},
    "nan": {"minimum": float("nan")},
    "infinite": {"maximum": float("inf")},
    "huge number": {"multipleOf": 1e-300, "maximum": 10**300},
    "properties as list": {"type": "object", "properties": [1]},
    "required as text": {"type": "object", "properties": {"a": {}}, "required": "a"},
    "many properties": {"type": "object", "properties": {f"p{i}": {} for i in range(256)}},
    "unicode": {"type": "object", "properties": {"名\u202e\0🎉<tool_call>": {"const": "\ud800"}}},
    **{f"pattern {pattern}": {"type": "string", "pattern": pattern} for pattern in PATTERNS},
}
NOISE = [
    "type",
    "properties",
    "items",
    "enum",
    "anyOf",
    "allOf",
    "oneOf",
    "not",
    "$ref",
    "required",
]
NOISE += ["minimum", "maxItems", "minLength", "pattern", "const", "additionalProperties", "format"]


def random_schema(draw, depth=0):
    if depth > 4 or draw.random() < 0.3:
        return draw.choice(
            [True, False, None, 3, -1, "string", "#", [], {}, "object", 1e300, ["a"]]
        )
    keys = draw.sample(NOISE, draw.randrange(1, 5))
    if draw.random() < 0.2:
        return [random_schema(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {key: random_schema(draw, depth + 1) for key in keys}


def hostile_tools():
    schemas = [*HOSTILE.values(), *(random_schema(random.Random(seed)) for seed in range(170))]
    tools = [
        Tool(f"t{i}", "", {"type": "object", "properties": {"x": schema}, "required": ["x"]})
        for i, schema in enumerate(schemas)
    ]
    one, defs = fan(60)
    parameters = {"type": "object", "properties": {"x": one}, "$defs": defs}
    return [*tools, Tool("fan", "", parameters)]


def test_every_hostile_schema_is_taken_or_refused_as_a_tool():
    for tool in hostile_tools():
        begun = time.process_time()
        try:
            tool_from_json(tool.as_openai())
        except ToolError as error:
            assert tool.name in str(error)
        assert time.process_time() - begun < 2


@pytest.mark.slow
@pytest.mark.parametrize("syntax", ["hermes", "pythonic", "gemma4", "qwen3_coder"])
def test_two_hundred_hostile_schemas_compile_or_are_refused(syntax):
    pytest.importorskip("llguidance")
    tools = hostile_tools()
    results = check_grammars(tools, [syntax])[syntax]
    assert len(tools) >= 200
    assert [one.tool for one in results] == [tool.name for tool in tools]


def test_a_schema_that_takes_too_long_does_not_take_the_others_along():
    pytest.importorskip("llguidance")
    from tests.conftest import weather_tool

    bad = Tool("bad", "", {"type": "object", "properties": {"x": {"type": "colour"}}})
    tools = [weather_tool(), bad, weather_tool()]
    first, middle, last = check_grammars(tools, ["hermes"])["hermes"]
    assert (first.problem, last.problem) == (None, None)
    assert "colour" in middle.problem


REDOS = [
    *(f"^({one}+)+$" for one in ("a", r"\w", "[a-z]", ".", "(a)", r"a\s?", "a|b", "aa?")),
    *(f"^({one}*)*$" for one in ("a", r"\w", "[a-z]", ".", "(a)", "a|b", "aa?", "(a*)")),
    *(f"({one})+$" for one in ("a|aa", "a|a?", "a|a|a", "[a-z]|a", r"\w|a", "a+|b", "a*a")),
    *(f"^(.*{one}){{{n}}}$" for one in ("a", r"\w") for n in (8, 16, 25)),
    *(f"(?=({one}+)+$)b" for one in ("a", r"\w", "[a-z]", ".")),
    *(f"(?<=x)({one}*)*b" for one in ("a", r"\w")),
    *(rf"^({one})\1+$" for one in ("a+", r"\w+", "(a|aa)+", "a*")),
    *(f"^(a?){{{n}}}a{{{n}}}$" for n in (20, 30, 50)),
    r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}))$",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(x+x+)+y",
    r"^(?:(?:a+)+)+$",
    r"(.*)*(.*)*(.*)*=",
    r"^\s+|\s+$",
    r"^(a|b|ab)*c$",
    r"(a{0,30}){0,30}b",
]


@pytest.mark.parametrize("pattern", REDOS)
def test_no_pattern_makes_validation_slow(pattern):
    schema = {"type": "string", "pattern": pattern}
    fits(schema, "")  # the validator is built once
    value = "a" * 400 + "!"
    seconds = min(_spent(schema, value) for _ in range(3))
    assert seconds < 0.05


def _spent(schema, value):
    begun = time.process_time()
    fits(schema, value)
    return time.process_time() - begun


def test_there_are_fifty_of_them():
    assert len(set(REDOS)) >= 50


def test_patterns_that_need_a_backtracking_engine_still_work():
    assert fits({"type": "string", "pattern": r"^(?!a)b"}, "b")
    assert not fits({"type": "string", "pattern": r"^(?!b)"}, "b")
    assert fits({"type": "string", "pattern": r"^(a)\1$"}, "aa")


@pytest.mark.slow
@pytest.mark.parametrize("name", syntaxes.names())
def test_ten_thousand_made_up_completions_never_raise(name):
    syntax, draw = syntaxes.get(name), random.Random(0)
    from tests.calls.test_stream import CALLS, TOOLS

    right = syntax.render(CALLS)
    pieces = [syntax.START, syntax.END, *right, "True", "\\u00", "1e999", "NaN", "9" * 5000, "[[[["]
    for _ in range(10_000):
        if draw.random() < 0.5:
            text = list(right)
            for _ in range(draw.randrange(1, 8)):
                text[draw.randrange(len(text))] = draw.choice(pieces)
        else:
            text = draw.choices(pieces, k=draw.randrange(40))
        assert syntax.parse("".join(text), TOOLS).problem in (None, *syntaxes.PROBLEMS)
