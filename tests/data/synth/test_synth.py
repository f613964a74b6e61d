"""Rows made for one's own tools: valid, different, and the same for the same seed."""

from __future__ import annotations

import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edgetool.calls.tools.validation import misfit
from edgetool.calls.types import Tool
from edgetool.data.rows import load_rows
from edgetool.data.split import normalised
from edgetool.data.synth.endpoint import Endpoint, Writer, read_utterances, unsaid
from edgetool.data.synth.synthesize import Plan, synthesize
from edgetool.data.synth.templates import label, utterance
from edgetool.data.synth.values import Unfillable, draw, draw_arguments
from edgetool.errors import DataError, EdgetoolError, UsageError
from tests.conftest import music_tool, weather_tool


def one(schema, required=("x",)):
    parameters = {"type": "object", "properties": {"x": schema}, "required": list(required)}
    return Tool("f", "Do it", parameters)


FILLABLE = [
    {"type": "string"},
    {"type": "string", "enum": ["a", "b"]},
    {"const": 7},
    {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["OSL"]},
    {"type": "string", "minLength": 30, "maxLength": 34},
    {"type": "string", "maxLength": 2},
    {"type": "integer", "minimum": 5, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "minimum": 1, "multipleOf": 25},
    {"type": "integer", "maximum": -3},
    {"type": "number", "minimum": 0.1, "maximum": 0.9},
    {"type": "boolean"},
    {"type": ["string", "null"]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2},
    {"type": "array", "items": {"enum": ["Mon", "Tue"]}, "uniqueItems": True},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
    {},
    *(
        {"type": "string", "format": f}
        for f in ("date", "date-time", "time", "email", "uri", "uuid")
    ),
    *({"type": "string", "format": f} for f in ("ipv4", "ipv6", "hostname", "duration")),
]


@pytest.mark.parametrize("schema", FILLABLE, ids=json.dumps)
def test_every_value_drawn_fits_its_schema(schema):
    tool = one(schema)
    for seed in range(50):
        assert misfit(draw_arguments(tool, random.Random(seed)), tool) is None


INNER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OTHER = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/P", "$defs": {"P": INNER}},
        {"allOf": [INNER, OTHER]},
        {"oneOf": [INNER, OTHER]},
        {"anyOf": [{"$ref": "#/$defs/P"}, OTHER], "$defs": {"P": INNER}},
    ],
    ids=["$ref", "allOf", "oneOf", "anyOf"],
)
def test_arguments_are_drawn_where_a_composition_names_them(parameters):
    tool = Tool("f", "", {"type": "object", "properties": {}, **parameters})
    for seed in range(20):
        drawn = draw_arguments(tool, random.Random(seed))
        assert drawn and misfit(drawn, tool) is None


def test_formats_are_the_standards_own():
    patterns = {
        "date": r"\d{4}-\d\d-\d\d",
        "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        "email": r"\S+@\S+\.example",
        "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        "ipv4": r"\d+\.\d+\.\d+\.\d+",
    }
    for name, pattern in patterns.items():
        value = draw({"type": "string", "format": name}, random.Random(0))
        assert re.fullmatch(pattern, value), value


def test_a_name_says_what_people_put_there():
    cities = {draw({"type": "string"}, random.Random(i), "destination_city") for i in range(40)}
    assert "Oslo" in cities and len(cities) > 5


def test_a_recursive_schema_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    tool = one({"$ref": "#/$defs/node"})
    tool.parameters["$defs"] = {"node": node}
    for seed in range(30):
        draw_arguments(tool, random.Random(seed))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{9}$"},
        {"type": "integer", "minimum": 5, "maximum": 3},
        False,
    ],
)
def test_a_schema_that_cannot_be_filled_is_refused_by_name(schema):
    with pytest.raises(Unfillable, match=r"no value was found for 'x'|no arguments were found"):
        draw_arguments(one(schema), random.Random(0))


def test_an_argument_that_may_be_left_out_and_cannot_be_filled_is_left_out():
    tool = one({"type": "string", "pattern": "^[A-Z]{9}$"}, required=())
    assert draw_arguments(tool, random.Random(0), optional=1.0) == {}


def test_the_words_say_every_value():
    arguments = {"city": "Oslo", "days": 3, "tags": ["a", "b"], "sunny": True, "at": {"lat": 1.5}}
    for seed in range(100):
        said = utterance(weather_tool(), arguments, random.Random(seed)).casefold()
        assert "oslo" in said and "3" in said and "a and b" in said and "1.5" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [("maxResults", "max results"), ("max_results", "max results"), ("HTTPCode", "http code")],
)
def test_a_name_in_words(name, words):
    assert label(name) == words


def made(tmp_path, tools, writer=None, **plan):
    out, rejected = tmp_path / "rows.jsonl", tmp_path / "rejected.jsonl"
    summary = synthesize(tools, out, rejected, Plan(**plan), writer)
    reasons = rejected.read_text().splitlines() if rejected.exists() else []
    return load_rows(out), [json.loads(line) for line in reasons], summary


def test_rows_are_valid_different_and_spread_over_the_tools(tmp_path):
    rows, rejected, summary = made(tmp_path, [weather_tool(), music_tool()], rows=80)
    assert len(rows) == summary.written == 80 and not rejected
    assert len({normalised(row.utterance) for row in rows}) == 80
    called = [row.calls[0].name for row in rows if row.calls]
    assert min(called.count(name) for name in ("get_weather", "play_music")) > 20
    assert all(row.metadata == {"source": "synth"} for row in rows)


def test_rows_without_a_call_lack_the_tool_they_are_about(tmp_path):
    rows, _, _ = made(tmp_path, [weather_tool(), music_tool()], rows=60, irrelevance=1.0)
    abstaining = [row for row in rows if not row.calls]
    assert len(abstaining) > 10 and all(len(row.tools) == 1 for row in abstaining)


def test_the_same_seed_makes_the_same_rows(tmp_path):
    once = made(tmp_path, [weather_tool(), music_tool()], rows=20)[0]
    assert made(tmp_path, [weather_tool(), music_tool()], rows=20)[0] == once
    assert made(tmp_path, [weather_tool(), music_tool()], rows=20, seed=1)[0] != once


def test_tools_that_run_out_of_words_give_what_they_can(tmp_path):
    ping = Tool("ping", "Ping", {"type": "object", "properties": {}})
    rows, _, _ = made(tmp_path, [ping], rows=200)
    assert 1 < len(rows) < 40


def test_a_tool_that_cannot_be_filled_is_named_and_the_others_go_on(tmp_path):
    odd = one({"type": "string", "pattern": "^[A-Z]{9}$"})
    rows, rejected, _ = made(tmp_path, [odd, weather_tool()], rows=10)
    assert len(rows) == 10 and all(c.name == "get_weather" for row in rows for c in row.calls)
    assert [line["reason"] for line in rejected] == [
        "f: no value was found for 'x'; give it examples"
    ]


def test_no_tools_and_no_rows_are_errors(tmp_path):
    with pytest.raises(UsageError, match="holds no tool"):
        made(tmp_path, [])
    with pytest.raises(DataError, match="no row could be made"):
        made(tmp_path, [one({"type": "string", "pattern": "^[A-Z]{9}$"})])
    assert list(tmp_path.iterdir()) == []


class Chat(BaseHTTPRequestHandler):
    """A chat completions endpoint that writes two good requests, a bad one and a repeat."""

    asked: list[dict] = []  # noqa: RUF012 - one list for the server's whole life

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        if body["model"] == "broken":
            self.send_response(500)
            self.end_headers()
            self.wfile.write(b"out of memory")
            return
        wanted = json.loads(body["messages"][1]["content"])["arguments"]
        values = " ".join(map(str, wanted.values()))
        lines = [
            f"Tell me of {values}",
            f"{values}, quickly",
            "Nothing of it",
            f"tell me of {values}!",
        ]
        content = f"Here you are:\n{json.dumps({'utterances': lines})}"
        reply = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Chat.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_writes_the_words_and_each_row_is_checked(tmp_path, url):
    with Writer(Endpoint(url, "m", api_key="secret")) as writer:
        rows, rejected, _ = made(tmp_path, [weather_tool()], writer, rows=6, irrelevance=0)
    assert len(rows) == 6 and all(row.calls for row in rows)
    for row in rows:
        assert unsaid(row.utterance, row.calls[0].arguments) == []
    assert {line["utterance"] for line in rejected} == {"Nothing of it"}
    assert all(line["reason"].startswith("does not say") for line in rejected)
    assert Chat.asked[0]["path"] == "/v1/chat/completions"
    assert Chat.asked[0]["key"] == "Bearer secret" and Chat.asked[0]["model"] == "m"


def test_an_endpoint_that_fails_is_an_error_that_says_so(tmp_path, url):
    with (
        Writer(Endpoint(url, "broken")) as writer,
        pytest.raises(EdgetoolError, match="500: out of"),
    ):
        made(tmp_path, [weather_tool()], writer)
    closed = Endpoint("http://127.0.0.1:9/v1", "m")
    with Writer(closed) as writer, pytest.raises(EdgetoolError, match="cannot be reached"):
        made(tmp_path, [weather_tool()], writer)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="must begin with http"):
        Endpoint("localhost:8000", "m")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"utterances": ["a  b", " c "]}', ["a b", "c"]),
        ('```json\n{"utterances": ["a"]}\n```', ["a"]),
        ('{"utterances": [3, "", "a"]}', ["a"]),
        ('{"utterances": "a"}', []),
        ("I will not.", []),
        ("", []),
        ("}{", []),
    ],
)
def test_utterances_are_read_out_of_what_the_model_wrote(text, lines):
    assert read_utterances(text) == lines
