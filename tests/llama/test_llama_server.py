"""A request as llama-server takes it, and its streams as they were recorded of a real one.

llama_server.json: llama.cpp 0.5.0, as llama-cpp-python 0.3.36 brings it, with nano in Q8_0; of each
last line, the echoes of what was asked are left out.
"""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.types import Tool
from edgetool.errors import EngineError, UsageError
from edgetool.llama.llama_server import (
    BINARY_KEY,
    Hearing,
    command,
    complaint,
    environment,
    find_binary,
    grammar_of,
    request,
)
from edgetool.llama.load import trained_context
from edgetool.llama.memory import Footprint, Layer
from edgetool.llama.protocol import NONE, REQUIRED, Job
from edgetool.runtime import Sampling
from tests.conftest import music_tool, user, weather_tool

pytest.importorskip("llama_cpp")
RECORDED = json.loads(Path(__file__).with_name("llama_server.json").read_text(encoding="utf-8"))
HERMES = syntaxes.get("hermes")
JOB = Job(user("weather in Oslo"), (weather_tool(), music_tool()), choice=REQUIRED)


def heard(name: str):
    hearing = Hearing()
    deltas = [hearing.feed(line, float(place)) for place, line in enumerate(RECORDED[name], 1)]
    return [delta for delta in deltas if delta is not None], hearing.done


def test_a_recorded_call_is_heard_whole():
    deltas, done = heard("call")
    written = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    assert "".join(delta.text for delta in deltas) == done.completion.text == written
    # 25 tokens, the stop token (2) among them, which says nothing
    assert sum(delta.tokens for delta in deltas) == 24
    assert len(done.completion.token_ids) == done.passes == 25
    assert done.completion.token_ids[-1] == 2
    assert done.completion.finished and not done.stopped
    assert (done.prompt_tokens, done.cached, done.completion.first_seconds) == (53, 0, 1.0)


def test_a_recorded_cut_is_unfinished():
    _, done = heard("cut")
    assert not done.completion.finished and not done.stopped
    assert len(done.completion.token_ids) == 5
    assert done.cached == 52  # the prompt was the one before


def test_a_recorded_stop_text_is_no_part_of_what_was_said():
    deltas, done = heard("stopped")
    assert done.stopped
    assert done.completion.text == '<tool_call>\n{"name": "get_weather", "'
    assert "".join(delta.text for delta in deltas) == done.completion.text


def test_a_recorded_refusal_is_told_in_its_words():
    [said] = RECORDED["refused"]
    assert complaint(json.loads(said)).startswith("Field 'temperature'")


def test_tokens_that_it_does_not_tell_count_all_the_same():
    hearing = Hearing()
    said = {"content": "\u00f8", "tokens": [7], "stop": False, "tokens_predicted": 3}
    assert hearing.feed(f"data: {json.dumps(said)}", 0.0).tokens == 3
    assert hearing.feed('data: {"content": "", "stop": true, "tokens_predicted": 4}', 0.0) is None
    assert hearing.done.completion.token_ids == (-1, -1, 7, -1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data: {", "no JSON object"),
        ("data: [1]", "no JSON object"),
        ('data: {"error": {"code": 500, "message": "out of luck"}}', "out of luck"),
        ('data: {"error": "odd"}', "odd"),
    ],
)
def test_a_stream_that_fails_is_the_engines_fault(line, words):
    with pytest.raises(EngineError, match=words):
        Hearing().feed(line, 0.0)


@pytest.mark.parametrize("line", ["", ": ping", "event: x"])
def test_lines_that_say_nothing_are_passed_over(line):
    assert Hearing().feed(line, 0.0) is None


def test_a_request_says_everything_that_llama_server_would_choose_itself():
    sampling = Sampling(temperature=0.5, top_k=3, top_p=0.9, seed=2**32 + 6)
    body = request([1, 2, 3], 40, sampling, None, replace(JOB, stop=("END",)))
    assert body == {
        "prompt": [1, 2, 3],
        "n_predict": 40,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "samplers": ["top_k", "temperature", "top_p"],
        "seed": 7,  # 2**32 + 6 = 1 * (2**32 - 1) + 7
        "stop": ["END"],
        "cache_prompt": True,
        "return_tokens": True,
        "preserved_tokens": [],
        "stream": True,
    }
    spoken = request([1], 1, sampling, None, JOB, ("[TOOL_CALLS]",))
    assert spoken["preserved_tokens"] == ["[TOOL_CALLS]"]
    assert request([1], 1, sampling, 'root ::= "a"', JOB)["grammar"] == 'root ::= "a"'


def rules(job: Job) -> dict[str, str]:
    text = grammar_of(job, HERMES)
    assert text is not None
    return dict(line.split(" ::= ", 1) for line in text.splitlines())


def test_a_required_call_leaves_no_room_for_prose():
    assert rules(JOB)["root"] == "calls"
    assert rules(replace(JOB, choice="auto"))["root"] == "prose | calls"


def test_one_call_at_most_where_no_second_is_allowed():
    assert rules(JOB)["calls"] == r'call ("\n" call)*'
    assert rules(replace(JOB, parallel=False))["calls"] == "call"


def test_the_one_tool_that_may_be_called_is_the_only_one_in_the_grammar():
    text = grammar_of(replace(JOB, choice="auto", only="play_music"), HERMES)
    assert "play_music" in text and "get_weather" not in text
    assert rules(replace(JOB, choice="auto", only="play_music"))["root"] == "calls"


def test_an_answer_with_a_schema_is_its_json():
    held = rules(Job(user("n?"), schema={"type": "integer"}))
    assert held["root"] == "answer" and "[0-9]" in str(held)


@pytest.mark.parametrize(
    "job", [replace(JOB, choice=NONE), replace(JOB, constrained=False), Job((), prompt="Once")]
)
def test_what_may_be_anything_has_no_grammar(job):
    assert grammar_of(job, HERMES) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "integer", "maximum": 9},
        {"type": "string", "maxLength": 3},
    ],
)
def test_what_cannot_be_held_is_refused_and_never_free(schema):
    tool = Tool("t", "", {"type": "object", "properties": {"a": schema}})
    for job in (Job(user("x"), (tool,)), Job(user("x"), schema=schema)):
        with pytest.raises(UsageError, match=r"llama-server cannot hold.*tool_choice to 'none'"):
            grammar_of(job, HERMES)


def test_a_syntax_gbnf_cannot_say_is_refused():
    with pytest.raises(UsageError, match=r"cannot hold.*no form in GBNF"):
        grammar_of(JOB, syntaxes.get("qwen3_coder"))


def test_its_key_is_in_no_list_of_processes_and_its_settings_are_ours(monkeypatch):
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")
    run = command(Path("/x"), Path("m.gguf"), port=1, context=512, sequences=8, threads=2)
    variables = environment("secret")
    assert "secret" not in run and variables["LLAMA_API_KEY"] == "secret"
    assert "LLAMA_ARG_HOST" not in variables
    assert run[run.index("--ctx-size") + 1] == "4096"  # 8 x 512


@pytest.mark.parametrize(
    ("context", "asked", "given"),
    [
        (4096, 8, 4),  # 2**16 * 2**12 = a quarter of a GiB each, and all may take one
        (1024, 8, 8),
        (2**20, 8, 1),  # one may take what it needs
    ],
)
def test_there_are_as_many_places_as_their_caches_may_take(context, asked, given):
    assert Footprint(0, (Layer(2**16),)).affordable(context, asked) == given


@pytest.mark.parametrize(
    ("trained", "given"), [({"x.context_length": "512"}, 512), ({"x.context_length": "9999"}, 4096),
                           ({}, 4096), ({"x.context_length": "odd"}, 4096)]
)  # fmt: skip
def test_a_context_is_no_longer_than_what_the_model_was_trained_on(trained, given):
    assert trained_context({"general.architecture": "x", **trained}, 4096) == given


def test_a_missing_program_is_named_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(BINARY_KEY, raising=False)
    with pytest.raises(UsageError, match=rf"no `llama-server` is on PATH; install.*{BINARY_KEY}="):
        find_binary()
    monkeypatch.setenv(BINARY_KEY, str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"gone is no program"):
        find_binary()


def test_the_program_on_path_is_found_unless_another_is_named(monkeypatch, tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "llama-server"
        program.touch()
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path / "one"))
    monkeypatch.delenv(BINARY_KEY, raising=False)
    assert find_binary() == tmp_path / "one" / "llama-server"
    monkeypatch.setenv(BINARY_KEY, str(tmp_path / "other" / "llama-server"))
    assert find_binary() == tmp_path / "other" / "llama-server"
