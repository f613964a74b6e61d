"""Which tokens end a turn, by the templates that write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import Prompter, render_prompt
from edgetool.calls.prompt.turns import TurnEnds, stop_ids, stops_from_text, turn_ends
from edgetool.calls.types import Message

PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
MARKERS = ("<|end|>", "<|assistant|>", "<|user|>", "<|eos|>", "<tool_call>", "</tool_call>", "\n")
CHATML = (
    "{% for m in messages %}<|user|>{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    "<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}\n<|end|>{% endfor %}"
)
# A call is followed by what asks for its result, as FunctionGemma's template has it.
RESPONSE = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}"
    "{{ '<|assistant|>' if m.tool_calls else '<|end|>' }}{% endfor %}"
)
REFUSES_CALLS = (
    "{% for m in messages %}{% if m.tool_calls %}{{ raise_exception('no') }}{% endif %}"
    "{{ m.content }}<|end|>{% endfor %}"
)


def ends(template: str, markers: Sequence[str] = MARKERS, syntax: str = "hermes") -> TurnEnds:
    def render(messages: Sequence[Message]) -> str:
        given = {"eos_token": "<|eos|>", "bos_token": "<s>"}
        pieces = render_prompt(
            template, messages, (), markers, add_generation_prompt=False, **given
        )
        return "".join(pieces)

    return turn_ends(render, markers, syntaxes.get(syntax))


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (PHI, TurnEnds("<|end|>", None)),  # and not the eos behind the whole conversation
        (CHATML, TurnEnds("<|end|>", "<|end|>")),  # not </tool_call>, which the syntax writes
        (RESPONSE, TurnEnds("<|end|>", "<|assistant|>")),
        (REFUSES_CALLS, TurnEnds("<|end|>", None)),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", TurnEnds()),
        ("{% for m in messages %}{{ m.content }} said.<|end|>{% endfor %}", TurnEnds()),
        ("{{ raise_exception('never') }}", TurnEnds()),
    ],
)
def test_what_stands_right_behind_a_turn_ends_it(template: str, found: TurnEnds) -> None:
    assert ends(template) == found


def test_a_model_that_is_asked_for_another_syntax_ends_its_turns_all_the_same() -> None:
    made = Prompter(CHATML, MARKERS, lambda text: [], syntaxes.get("json"))
    assert made.turn_ends() == TurnEnds("<|end|>", "<|end|>")


def test_a_turn_of_calls_ends_as_one_of_words_where_the_template_does_not_say() -> None:
    assert ends(PHI).of(calls=True) == ["<|end|>"]
    assert ends(RESPONSE).of(calls=True) == ["<|assistant|>", "<|end|>"]
    assert ends(RESPONSE).of(calls=False) == ["<|end|>"]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ([0, [7, 5, 0]], (7, 0, 5)),  # the template's own first, then the tokenizer's
        ([None, 7], (7,)),
        ([0, None], (7, 0)),  # a generation_config that names none
        ([], (7,)),
    ],
)
def test_every_end_that_anybody_names_counts(
    named: list[int | list[int] | None], found: object
) -> None:
    assert stop_ids(TurnEnds("<|end|>", "<|end|>"), {"<|end|>": 7}, named) == found


def test_what_stands_behind_calls_ends_a_turn_only_where_the_model_says_so() -> None:
    both, ids = TurnEnds("<|end|>", "<response>"), {"<|end|>": 7, "<response>": 9}
    assert stop_ids(both, ids, [0, [9, 7]]) == (7, 9, 0)
    assert stop_ids(both, ids, [0, [7]]) == (7, 0)  # the end of a call in a syntax nobody knows


def test_a_marker_without_a_token_ends_nothing() -> None:
    assert stop_ids(TurnEnds("<|end|>"), {}, [3]) == (3,)


@pytest.mark.parametrize(
    ("text", "ids"), [("7,32007", (7, 32007)), ("5", (5,)), ("", ()), (None, ()), ("7,x", ())]
)
def test_ends_written_into_a_file_are_read_back(text: str | None, ids: tuple[int, ...]) -> None:
    assert stops_from_text(text) == ids


@pytest.mark.parametrize(
    ("name", "words", "calls"),
    [
        ("microsoft-Phi-3.5-mini-instruct", "<|end|>", None),
        ("Qwen-Qwen3-0.6B", "<|im_end|>", "<|im_end|>"),
        ("meta-llama-Llama-3.2-3B-Instruct", "<|eot_id|>", "<|eot_id|>"),
        ("mistralai-Mistral-Nemo-Instruct-2407", "</s>", "</s>"),
        ("google-gemma-4-31B-it", "<turn|>", "<|tool_response>"),
        ("LFM2.5-Instruct", "<|im_end|>", None),
        ("ibm-granite-granite-4.0", "<|end_of_text|>", "<|end_of_text|>"),
        ("HuggingFaceTB-SmolLM3-3B", "<|im_end|>", None),
    ],
)
def test_real_templates_end_turns_as_their_models_do(
    shared: Path, name: str, words: str, calls: str | None
) -> None:
    template = (shared / "fixtures" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    markers = (
        "<|end|> <|im_end|> <|im_start|> <|eot_id|> <|end_of_text|> </s> <turn|> <|turn> "
        "<tool_call> </tool_call> <|tool_call> <tool_call|> <|tool_response> [TOOL_CALLS] "
        '<|tool_call_start|> <|tool_call_end|> <|eos|> <|start_header_id|> <|"|>'
    ).split()
    eos = {"mistral": "</s>"}.get(name[:7], "<|eos|>")
    syntax = syntaxes.detect(template).NAME
    found = ends(template.replace("eos_token", f"'{eos}'"), markers, syntax)
    assert found == TurnEnds(words, calls)
