"""Thinking: off as the model's own template writes it, and a leading thought where it is on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import Prompter, render_prompt
from edgetool.calls.prompt.stream import CallStream
from edgetool.calls.prompt.thinking import (
    THOUGHTS,
    ThinkingSyntax,
    Thought,
    answer_begins,
    behind_a_thought,
    describe,
    plain_syntax,
    switch_of,
    syntax_as_json,
    syntax_from_json,
    with_default,
)
from edgetool.calls.types import Tool, ToolCall
from edgetool.errors import UsageError

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
QWEN = TURNS + (
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
GRANITE = TURNS + "{% if thinking %}Think in <think></think>.\n{% endif %}{% endif %}"
OPENS = TURNS + (  # Qwen3.5's: the thought is opened where it is on
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)
ALWAYS = TURNS + "<think>\n{% endif %}"
NEVER = TURNS + "{% endif %}"
TOOL = Tool("f", "d", {"type": "object", "properties": {"x": {"type": "integer"}}})
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
HI = [{"role": "user", "content": "hi"}]


def prompter(template: str) -> Prompter:
    def encode(text: str) -> list[int]:
        return [ord(sign) for sign in text]

    return Prompter(template, ("<|im_start|>", "<|im_end|>"), encode, syntaxes.get("hermes"))


def written(made: Prompter) -> str:
    return "".join(map(chr, made.ids(HI, [])))


@pytest.mark.parametrize(
    ("template", "switch"),
    [
        (QWEN, "enable_thinking"),
        (GRANITE, "thinking"),
        (ALWAYS, None),
        (NEVER, None),
        ("{{ message.thinking }}", None),
        ("{{ 'systematic thinking process' }} thinking", None),
        ("{% set keep_past_thinking = true %}", None),
        ('{% if "it\'s" and thinking %}', "thinking"),
    ],
)
def test_the_switch_is_found_in_the_template_itself(template: str, switch: str | None) -> None:
    assert switch_of(template) == switch


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (QWEN, "assistant\n<think>\n\n</think>\n\n"),
        (OPENS, "assistant\n<think>\n\n</think>\n\n"),
        (GRANITE, "assistant\n"),
        (NEVER, "assistant\n"),
    ],
)
def test_a_prompter_that_nobody_told_renders_thinking_off(template: str, end: str) -> None:
    assert written(prompter(template)).endswith(end)
    off = prompter(template).with_thinking(False)
    assert written(off).endswith(end)
    assert off.syntax is syntaxes.get("hermes")


@pytest.mark.parametrize(
    ("template", "end", "opened"),
    [
        (QWEN, "assistant\n", False),
        (OPENS, "assistant\n<think>\n", True),
        (GRANITE, "Think in <think></think>.\n", False),
        (ALWAYS, "assistant\n<think>\n", True),
    ],
)
def test_thinking_on_is_rendered_and_read_behind_a_thought(
    template: str, end: str, opened: bool
) -> None:
    on = prompter(template).with_thinking(True)
    assert written(on).endswith(end)
    assert isinstance(on.syntax, ThinkingSyntax)
    assert on.syntax.thought == Thought(opened=opened)
    assert written(on.with_thinking(False)) == written(prompter(template))


def test_a_template_that_always_opens_a_thought_is_read_so_without_being_asked() -> None:
    off = prompter(ALWAYS).with_thinking(False)
    assert isinstance(off.syntax, ThinkingSyntax)
    assert "opens a thought in every prompt" in describe(off.syntax, ALWAYS)


def test_a_template_without_a_switch_refuses_thinking() -> None:
    with pytest.raises(UsageError, match=r"no switch for it; leave --thinking"):
        prompter(NEVER).with_thinking(True)


@pytest.mark.parametrize(
    ("text", "problem", "calls"),
    [
        (f"<think>\nx is 1\n</think>\n\n{CALL}", None, 1),
        (f"  <think></think>{CALL}", None, 1),
        (CALL, None, 1),
        ("<think>no tool</think>\nSorry.", None, 0),
        (f"<think>{CALL}", "empty", 0),  # a thought that is never closed
        (f"<think>{CALL}</think>\nSorry.", None, 0),  # thinking of a call is not making it
        ("<think></think>", "empty", 0),
        (f"<think></think>Well. {CALL}", "extra_text", 1),
        (f"Well. <think></think>{CALL}", "extra_text", 1),
        (f"{CALL}<think></think>", "extra_text", 1),
        ("", "empty", 0),
        ("<thi", "empty", 0),
    ],
)
def test_a_leading_thought_is_no_part_of_what_is_judged(
    text: str, problem: str | None, calls: int
) -> None:
    parsed = ThinkingSyntax(syntaxes.get("hermes"), Thought()).parse(text, [TOOL])
    assert (parsed.problem, len(parsed.calls)) == (problem, calls)


@pytest.mark.parametrize(
    ("text", "problem", "calls"),
    [
        (f"x is 1\n</think>\n\n{CALL}", None, 1),
        (f"</think>{CALL}", None, 1),
        (f"<think>x</think>{CALL}", None, 1),
        (CALL, "empty", 0),
        ("Sorry.", "empty", 0),
    ],
)
def test_a_thought_that_the_prompt_opened_has_to_end(
    text: str, problem: str | None, calls: int
) -> None:
    parsed = ThinkingSyntax(syntaxes.get("hermes"), Thought(opened=True)).parse(text, [TOOL])
    assert (parsed.problem, len(parsed.calls)) == (problem, calls)


def test_without_thinking_a_thought_is_still_text_beside_the_call() -> None:
    parsed = syntaxes.get("hermes").parse(f"<think>x</think>{CALL}", [TOOL])
    assert parsed.problem == "extra_text"


@pytest.mark.parametrize("name", syntaxes.names())
@pytest.mark.parametrize("thought", THOUGHTS, ids=lambda thought: thought.open)
@pytest.mark.parametrize("opened", [False, True])
def test_every_syntax_reads_its_calls_behind_every_thought(
    name: str, thought: Thought, opened: bool
) -> None:
    plain, call = syntaxes.get(name), ToolCall("f", {"x": 1})
    syntax = ThinkingSyntax(plain, Thought(thought.open, thought.close, opened))
    lead = "" if opened else thought.open
    text = f"{lead}{plain.START} {{[x = 1]}}\n{thought.close}\n\n{syntax.render([call])}"
    parsed = syntax.parse(text, [TOOL])
    assert (parsed.problem, parsed.calls) == (None, (call,))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_takes_no_call_out_of_a_thought(size: int) -> None:
    syntax = ThinkingSyntax(syntaxes.get("hermes"), Thought())
    text = f"<think>maybe {CALL}?</think>\n\nI will. {CALL}"
    stream = CallStream(syntax, [TOOL])
    events = []
    for start in range(0, len(text), size):
        events += stream.feed(text[start : start + size])
    stream.finish(finished=True)
    events += stream.rest
    calls = [event for event in events if isinstance(event, ToolCall)]
    words = "".join(event for event in events if isinstance(event, str))
    assert calls == [ToolCall("f", {"x": 1})]
    assert words == f"<think>maybe {CALL}?</think>\n\nI will. "


@pytest.mark.parametrize(
    ("text", "begins"), [("", None), ("<t", None), ("<think>x", None), ("<tool", 0), ("H", 0)]
)
def test_where_an_answer_begins_is_open_until_it_is_certain(text: str, begins: int | None) -> None:
    assert answer_begins(ThinkingSyntax(syntaxes.get("hermes"), Thought()), text) == begins
    assert answer_begins(syntaxes.get("hermes"), text) == 0


def test_what_is_taught_ends_the_thought_that_the_prompt_opened() -> None:
    on = prompter(OPENS).with_thinking(True)
    call = ToolCall("f", {"x": 1})
    said = "".join(map(chr, on.completion_ids([call])))
    assert said == f"</think>\n\n{CALL}"
    assert on.syntax.parse(said, [TOOL]).strict_calls == (call,)
    assert "".join(map(chr, on.completion_ids("Sorry."))) == "</think>\n\nSorry."
    assert "".join(map(chr, on.text_ids("Sorry."))) == "Sorry."


@pytest.mark.parametrize(
    ("lead", "problem"),
    [("<think>x</think>", None), ("x</think>", None), ("[THINK]x[/THINK]", None), ("", None)],
)
def test_a_completion_without_a_prompt_is_read_behind_whatever_thought_it_has(
    lead: str, problem: str | None
) -> None:
    text = f"{lead}{CALL}"
    parsed = behind_a_thought(syntaxes.get("hermes"), text).parse(text, [TOOL])
    assert (parsed.problem, len(parsed.calls)) == (problem, 1)


def test_a_syntax_goes_over_a_pipe_and_comes_back() -> None:
    syntax = ThinkingSyntax(syntaxes.get("lfm2"), Thought("[THINK]", "[/THINK]", True))
    back = syntax_from_json(syntax_as_json(syntax))
    assert isinstance(back, ThinkingSyntax)
    assert (back.plain, back.thought) == (syntax.plain, syntax.thought)
    assert syntax_from_json(syntax_as_json(syntaxes.get("hermes"))) is syntaxes.get("hermes")


@pytest.mark.parametrize("template", [QWEN, GRANITE, OPENS, NEVER, "\n" + QWEN, "  " + QWEN])
def test_a_file_renders_as_it_was_trained_where_nobody_sets_the_switch(template: str) -> None:
    for on in (False, True) if template is not NEVER else (False,):
        shipped = with_default(template, on)
        told = written(prompter(template).with_thinking(on))
        assert "".join(render_prompt(shipped, HI, [], [])) == told  # nobody sets it
        assert written(prompter(shipped).with_thinking(on)) == told


@pytest.mark.parametrize("name", ["Qwen-Qwen3-0.6B", "Qwen3.5-4B", "HuggingFaceTB-SmolLM3-3B"])
def test_real_templates_think_only_when_asked_to(shared: Path, name: str) -> None:
    template = (shared / "fixtures" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    off = written(prompter(template))
    assert off.rstrip().endswith("<|im_start|>assistant\n<think>\n\n</think>")
    assert off != written(prompter(template).with_thinking(True))
    assert plain_syntax(prompter(template).with_thinking(True).syntax) is syntaxes.get("hermes")
