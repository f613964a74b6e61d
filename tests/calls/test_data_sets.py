"""Every call of real data sets can be written in every syntax, and is read back."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest

from edgetool.calls import formats
from edgetool.calls.tools import ToolError, tool_from_json
from edgetool.calls.types import ToolCall
from edgetool.calls.validation import fits
from edgetool.errors import EdgetoolError

pytestmark = pytest.mark.slow

# A text the syntax has no way to write under its grammar: see the modules' own words.
# row -> why no grammar takes its call
KNOWN = {
    "live_parallel_multiple_21-18-0": "its tool has an enum that no value of its type is in",
    "live_multiple_189-83-0": "an inner object outside what syntaxes other than JSON can hold",
}
UNWRITABLE = {"functiongemma": "<", "gemma4": "<"}


def bfcl(shared):
    from edgetool.data.bfcl import categories, load

    folder = shared / "data" / "bfcl_v4"
    for category in categories(folder):
        for row in load(folder, category):
            tools = {tool.name: tool for tool in row.tools}
            for call in row.calls:
                given = {k: v for k, v in call.arguments.items() if k not in call.optional}
                yield f"{row.id}", tools[call.name], ToolCall(call.name, given)


def seal_tools(shared):
    folder = shared / "data" / "seal-tools"
    tools = {}
    for line in (folder / "tool.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        required = set(row["required"])
        flat = {
            name: {**one, "required": name in required} for name, one in row["parameters"].items()
        }
        given = {"name": row["api_name"], "description": row["api_description"], "parameters": flat}
        with contextlib.suppress(ToolError):  # one tool has text where a schema must stand
            tools[row["api_name"]] = tool_from_json(given)
    for name in ("dev", "test_in_domain"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for call in row["calling"]:
                if call["api"] in tools:
                    yield row["id"], tools[call["api"]], ToolCall(call["api"], call["parameters"])


def snips(_):
    from edgetool.data import sources

    for row in sources.load("demo", "validation", None):
        tools = {tool.name: tool for tool in row.tools}
        for call in row.calls:
            yield row.id, tools[call.name], ToolCall(call.name, call.arguments)


def in_order(tool, call):
    """Objects with many properties are held to their order, at every level of JSON."""

    def ordered(schema, value):
        if isinstance(value, list):
            return [ordered(schema.get("items", {}), one) for one in value]
        if not isinstance(value, dict) or not isinstance(schema.get("properties"), dict):
            return value
        known = [name for name in schema["properties"] if name in value]
        names = [*known, *(name for name in value if name not in known)]
        return {name: ordered(schema["properties"].get(name, {}), value[name]) for name in names}

    return ToolCall(call.name, ordered(tool.parameters, call.arguments))


@pytest.mark.parametrize("source", [bfcl, seal_tools, snips], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", formats.names())
def test_calls_that_fit_their_schema_are_accepted_and_read_back(shared, source, name, capsys):
    llguidance = pytest.importorskip("llguidance")
    syntax, tokenizer = formats.get(name), llguidance.LLTokenizer("byte")
    compiled, counts, refused = {}, Counter(), []
    for ident, tool, call in source(shared):
        if not fits({"additionalProperties": False, **tool.parameters}, call.arguments):
            counts["does not fit its schema"] += 1
            continue
        if UNWRITABLE.get(name, "\0") in str(call.arguments):
            counts["cannot be written"] += 1
            continue
        key = json.dumps([tool.name, tool.parameters])
        if key not in compiled:
            try:
                grammar = syntax.grammar([tool], required=True)
            except EdgetoolError as error:
                refused.append((ident, str(error)))
                continue
            compiled[key] = llguidance.LLMatcher(
                tokenizer, llguidance.grammar_from("grammar", grammar), log_level=0
            )
        call = in_order(tool, call)
        text, matcher = syntax.render([call]), compiled[key].deep_copy()
        tokens = tokenizer.tokenize_str(text)
        taken = matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()
        if not taken or syntax.parse(text, [tool]).strict_calls != (call,):
            refused.append((ident, matcher.get_error() if matcher.is_error() else text))
        counts["accepted"] += taken
    with capsys.disabled():
        print(f"\n{name} {source.__name__}: {dict(counts)}, refused {len(refused)}")
    assert counts["accepted"] > 100
    assert [one for one in refused if one[0] not in KNOWN] == []
