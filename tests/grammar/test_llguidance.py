from __future__ import annotations

import json
import subprocess
import sys

import jsonschema_rs
import numpy as np
import pytest

from edgetool.calls.json_text import dumps
from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import EngineError
from edgetool.grammar.arms import names_only
from edgetool.grammar.llguidance import for_llama, for_tokenizer, spell_markers
from edgetool.runtime import Sampling

LEFT = 1000  # tokens that may follow, where a test does not care


@pytest.fixture(scope="module")
def make(session):
    return for_llama(session)


def allowed(constraint, size: int) -> set[int]:
    return set(np.isfinite(constraint.mask(np.zeros(size, np.float32))).nonzero()[0].tolist())


@pytest.fixture(scope="module", params=["llama.cpp", "transformers"])
def engine(request, session, tiny_model, examples):
    """(new constraint on row `one`, encode, vocabulary size, stop id), for both vocabularies."""
    encode, size = session.prompter.encode, session.vocabulary.size
    if request.param == "llama.cpp":
        llama_maker = for_llama(session)
        return lambda: llama_maker(examples[0].tools), encode, size, encode("<|im_end|>")[0]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    hf_maker = for_tokenizer(tokenizer, session.syntax, [tokenizer.eos_token_id])
    return lambda: hf_maker(examples[0].tools), encode, size, tokenizer.eos_token_id


def test_a_call_opens_with_its_single_token_and_a_line_break(engine):
    constraint, encode, size, _ = engine
    started = constraint()
    [marker] = encode("<tool_call>")
    first = allowed(started, size)
    assert marker in first
    assert encode("<")[0] not in first  # the letters of the marker are no way in
    started.advance(marker, LEFT)
    assert allowed(started, size) == {encode("\n")[0]}


def test_the_tokenization_trained_on_is_allowed_to_its_end(engine):
    constraint, encode, size, stop = engine
    started = constraint()
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    for token in encode(text):
        now = allowed(started, size)
        assert token in now
        assert stop not in now
        started.advance(token, LEFT)
    assert stop in allowed(started, size)
    started.advance(stop, LEFT)


def test_prose_may_end_once_it_has_begun(engine):
    constraint, encode, size, stop = engine
    started = constraint()
    assert stop not in allowed(started, size)
    started.advance(encode("H")[0], LEFT)
    now = allowed(started, size)
    assert stop in now
    assert encode("<tool_call>")[0] not in now


def test_logits_beyond_the_vocabulary_are_closed(engine):
    constraint, _, size, _ = engine
    assert max(allowed(constraint(), size + 64)) < size


def test_a_token_the_grammar_forbids_is_an_engine_error(engine):
    constraint, _, _, stop = engine
    with pytest.raises(EngineError, match="breaks the grammar"):
        constraint().advance(stop, LEFT)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("length", [60, 61, 75, 96, 200])
def test_a_random_model_makes_only_valid_calls_and_ends_them_in_time(
    session, make, examples, required, length
):
    tools = {tool.name: tool for tool in examples[0].tools}
    ids = session.prompter.ids(examples[0].messages, examples[0].tools)
    shortened = 0
    for seed in range(10):
        sampling = Sampling(max_completion_length=length, temperature=1.0, seed=seed)
        done = session.generate(ids, sampling, make(examples[0].tools, required=required))
        shortened += done.shortened
        assert done.finished
        assert len(done.token_ids) <= length
        parsed = session.syntax.parse(done.text)
        assert parsed.problem is None
        assert parsed.calls or not required
        for call in parsed.calls:
            jsonschema_rs.validate(tools[call.name].parameters, call.arguments)
    assert shortened  # else this test saw nothing


POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"enum": ["a", "b"]}},
    "required": ["x", "label"],
}


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (POINT, {"x": "1", "label": "a"}),
        (POINT, {"x": 1, "label": "a", "more": 1}),
        ({"type": "object"}, []),
        ({"type": "array", "maxItems": 1}, [1, 2]),
    ],
)
def test_an_answer_fits_its_schema(session, make, examples, schema, wrong):
    ids = session.prompter.ids(examples[0].messages, [])
    for seed in range(5):
        sampling = Sampling(max_completion_length=120, temperature=1.0, seed=seed)
        done = session.generate(ids, sampling, make.for_schema(schema))
        assert done.finished
        jsonschema_rs.validate(schema, json.loads(done.text))
    with pytest.raises(EngineError, match="breaks the grammar"):
        written = make.for_schema(schema)
        for token in session.prompter.encode(dumps(wrong)):
            written.advance(token, LEFT)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        {"type": "array"},
        {},
    ],
    ids=str,
)
def test_an_open_answer_is_ended_with_its_stop_token_in_time(session, make, schema):
    ids = session.prompter.ids([{"role": "user", "content": "hi"}], [])
    shortened = 0
    for seed in range(6):
        sampling = Sampling(max_completion_length=24, temperature=2.0, seed=seed)
        done = session.generate(ids, sampling, make.for_schema(schema))
        assert done.finished and done.token_ids[-1] in session.vocabulary.stop_ids
        jsonschema_rs.validate(schema, json.loads(done.text))
        shortened += done.shortened
    assert shortened  # else this test saw nothing


def test_the_stop_token_behind_a_last_brace_needs_room_too(session, make):
    # {"type": "object"} needs {, } and the stop token; llguidance itself stops at the brace
    started = make.for_schema({"type": "object"})
    [opening], [closing] = session.prompter.encode("{"), session.prompter.encode("}")
    assert started.advance(opening, 2) == opening
    assert started.advance(session.prompter.encode('"')[0], 1) == closing
    assert started.shortened
    assert started.advance(opening, 0) in session.vocabulary.stop_ids


def test_beside_tools_an_answer_is_a_call_or_fits_its_schema(session, make, examples):
    tools = examples[0].tools
    ids = session.prompter.ids(examples[0].messages, tools)
    kinds = set()
    for seed in range(20):
        sampling = Sampling(max_completion_length=120, temperature=1.0, seed=seed)
        done = session.generate(ids, sampling, make.for_schema(POINT, tools))
        calls = session.syntax.parse(done.text).calls
        kinds.add(bool(calls))
        if not calls:
            assert set(json.loads(done.text)) == {"x", "label"}
    assert kinds == {True, False}


@pytest.mark.parametrize("schema", [{"pattern": "("}, {"$ref": "https://a.example/b"}, {"not": {}}])
def test_an_answers_schema_that_no_grammar_holds_is_named(make, schema):
    with pytest.raises(EngineError, match="response_format"):
        make.for_schema(schema)


def test_an_end_is_forced_only_when_no_later_one_would_do(engine):
    constraint, encode, _, stop = engine
    opened = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "'
    ending = [*encode('"}}\n</tool_call>'), stop]
    [letter] = encode("O")
    for remaining, expected in ((len(ending), letter), (len(ending) - 1, ending[0])):
        started = constraint()
        for token in encode(opened):
            started.advance(token, LEFT)
        assert started.advance(letter, remaining) == expected
        assert started.shortened == (expected != letter)


def test_a_forced_end_is_written_to_its_last_token(engine):
    constraint, encode, _, stop = engine
    started, written = constraint(), []
    for token in encode('<tool_call>\n{"name": "get_weather", "arguments": {"city": "'):
        started.advance(token, LEFT)
    for remaining in range(12, -1, -1):
        written.append(started.advance(encode("O")[0], remaining))
        if written[-1] == stop:
            break
    closing = [*encode('"}}\n</tool_call>'), stop]
    assert written[-len(closing) :] == closing


def test_required_arguments_are_given_before_a_forced_end(session, make):
    schema = {
        "type": "object",
        "properties": {
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
            "where": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        },
        "required": ["unit", "day", "where"],
    }
    tool = Tool("t", "", schema)
    ids = session.prompter.ids([{"role": "user", "content": "hi"}], [tool])
    for seed in range(5):
        sampling = Sampling(max_completion_length=90, temperature=1.0, seed=seed)
        done = session.generate(ids, sampling, make([tool], required=True))
        assert done.finished
        for written in session.syntax.parse(done.text).calls:
            jsonschema_rs.validate(schema, written.arguments)


def test_without_room_for_any_end_the_completion_is_cut(session, make, examples):
    ids = session.prompter.ids(examples[0].messages, examples[0].tools)
    done = session.generate(ids, Sampling(5), make(examples[0].tools, required=True))
    assert not done.finished
    assert not done.shortened
    assert len(done.token_ids) == 5


def test_constraints_of_one_grammar_do_not_share_their_place(session, make, examples):
    first, second = make(examples[0].tools), make(examples[0].tools)
    before = allowed(second, session.vocabulary.size)
    first.advance(session.prompter.encode("<tool_call>")[0], LEFT)
    assert allowed(second, session.vocabulary.size) == before


def test_without_tools_there_is_only_prose(session, make):
    now = allowed(make([]), session.vocabulary.size)
    assert session.prompter.encode("<tool_call>")[0] not in now


def test_a_required_call_leaves_no_way_but_the_marker(session, make, examples):
    started = make(examples[0].tools, required=True)
    marker = session.prompter.encode("<tool_call>")[0]
    assert allowed(started, session.vocabulary.size) == {marker}


def test_a_schema_no_grammar_can_hold_names_its_tool(make, examples):
    bad = Tool("odd_one", "", {"type": "object", "properties": {"x": {"type": "colour"}}})
    with pytest.raises(SchemaError, match=r"tool 'odd_one': parameters\.properties\.x\.type: "):
        make([*examples[0].tools, bad])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"type": "string", "pattern": "("},
            r"tool 'odd_one': parameters\.properties\.x: 'pattern'",
        ),
        ({"enum": []}, r"tool 'odd_one': parameters\.properties\.x: no value fits"),
    ],
    ids=["pattern", "enum"],
)
def test_what_is_wrong_with_a_schema_is_said_without_a_grammar(make, examples, schema, said):
    properties = {"x": schema, "y": {"type": "string"}}
    bad = Tool("odd_one", "", {"type": "object", "properties": properties, "required": ["x"]})
    with pytest.raises(SchemaError, match=said) as raised:
        make([*examples[0].tools, bad])
    assert "%json" not in str(raised.value) and "--" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ('call: "<tool_call>\\n" (a)', 'call: <[7]> "\\n" (a)'),
        ('call: "\\n</tool_call>"', 'call: "\\n" <[8]>'),
        ('x: %json {"const": "<tool_call>"}', 'x: %json {"const": "<tool_call>"}'),
        ("prose: /[^<]*/", "prose: /[^<]*/"),
    ],
)
def test_markers_in_literals_become_token_ids(grammar, expected):
    assert spell_markers(grammar, {"<tool_call>": 7, "</tool_call>": 8}) == expected


def test_a_laptop_without_torch_can_decode_constrained(gguf):
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "from pathlib import Path\n"
        "from edgetool.runtime import Sampling\n"
        "from edgetool.server import app\n"
        "from edgetool.chat.ask import ask\n"
        "from edgetool.llama.session import LlamaSession\n"
        f"with LlamaSession(Path({str(gguf)!r}), context=256) as session:\n"
        "    print(len(ask(session, 'hello', [], sampling=Sampling(2)).completion.token_ids))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def allows(constraint, session, text: str) -> bool:
    """Whether the grammar takes the text, as the model would write it, and may end there."""
    stop = session.prompter.encode("<|im_end|>")[0]
    try:
        for token in session.prompter.encode(text):
            constraint.advance(token, LEFT)
    except EngineError:
        return False
    return stop in allowed(constraint, session.vocabulary.size)


ROOM = {"type": "object", "properties": {"floor": {"type": "integer"}}, "required": ["floor"]}


@pytest.mark.parametrize(
    ("parameters", "right", "wrong"),
    [
        (
            {"properties": {"room": {"$ref": "#/$defs/room"}}, "$defs": {"room": ROOM}},
            '{"room": {"floor": 2}}',
            '{"room": {"floor": "2"}}',
        ),
        (
            {"properties": {"room": {"$ref": "#/definitions/r"}}, "definitions": {"r": ROOM}},
            '{"room": {"floor": 2}}',
            '{"room": 2}',
        ),
        (  # the tool's own root, not the call's
            {"properties": {"parts": {"type": "array", "items": {"$ref": "#"}}}},
            '{"parts": [{"parts": []}]}',
            '{"parts": [{"name": "t"}]}',
        ),
    ],
)
def test_references_inside_a_tools_schema_are_followed(session, make, parameters, right, wrong):
    tool = Tool("t", "", {"type": "object", "additionalProperties": False, **parameters})
    assert allows(make([tool], required=True), session, call("t", right))
    assert not allows(make([tool], required=True), session, call("t", wrong))


def test_the_arm_of_names_only_knows_arguments_that_a_composition_names():
    inner = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    whole = {"type": "object", "properties": {}, "allOf": [inner, {"properties": {"b": {}}}]}
    kept = names_only(Tool("t", "", whole)).parameters
    assert kept["properties"] == {"a": {}, "b": {}}
    assert (kept["required"], kept["additionalProperties"]) == (["a"], False)


def test_a_schema_elsewhere_is_never_fetched(make):
    remote = {"$ref": "http://127.0.0.1:9/schema.json"}
    with pytest.raises(SchemaError, match=r"tool 't': parameters\.properties\.x: \$ref "):
        make([Tool("t", "", {"type": "object", "properties": {"x": remote}})])


@pytest.mark.slow
def test_right_calls_of_real_rows_can_be_written(session, make, shared):
    """Arguments in the order of the schema, which the grammar prescribes; JSON has none."""
    from edgetool.data.bfcl import load

    rows = load(shared / "data" / "bfcl_v4", "multiple")
    refused = []
    for row in rows:
        [expected] = row.calls
        schema = next(tool.parameters for tool in row.tools if tool.name == expected.name)
        given = {
            name: expected.arguments[name]
            for name in schema["properties"]
            if name in expected.arguments
        }
        given = {name: value for name, value in given.items() if name not in expected.optional}
        text = session.syntax.render([ToolCall(expected.name, given)])
        if jsonschema_rs.is_valid(schema, given) and not allows(make(row.tools), session, text):
            refused.append(row.id)
    assert len(rows) == 200
    assert refused == []
