from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.judge.match import judge
from edgetool.calls.types import Example, ExpectedCall
from edgetool.errors import ConfigError, DataError, PromptTooLong
from edgetool.train.load import LoadSettings
from edgetool.train.policy import Policy
from edgetool.train.rows import digest
from edgetool.train.settings import NO_CALL_TEXT, SFTSettings
from edgetool.train.sft import closing_id, prepare_supervised
from tests.conftest import user, weather_tool
from tests.train.conftest import EXACT

SETTINGS = SFTSettings()
JSON = dataclasses.replace(EXACT, call_syntax="json")


def written(policy: Policy, example: Example, **settings: object) -> str:
    """The completion a row is trained on, control tokens shown."""
    [row] = prepare_supervised(policy, [example], SFTSettings(**settings)).rows
    return policy.tokenizer.decode(row.completion)


def test_a_completion_is_the_syntax_s_rendering_and_the_stop_token(
    policy: Policy, examples: list[Example]
) -> None:
    one = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    two = '{"name": "get_weather", "arguments": {"city": "Rome", "days": 3}}'
    assert written(policy, examples[0]) == f"{one}<|im_end|>"
    assert written(policy, examples[1]) == f"{one}\n<tool_call>\n{two}\n</tool_call><|im_end|>"


def test_call_markers_are_single_tokens(policy: Policy, examples: list[Example]) -> None:
    [row] = prepare_supervised(policy, examples[:1], SETTINGS).rows
    marker = policy.tokenizer.convert_tokens_to_ids("<tool_call>")
    assert row.completion[0] == marker
    assert row.completion.count(marker) == 1


def test_the_prompt_is_the_one_grpo_sees(policy: Policy, examples: list[Example]) -> None:
    for row in prepare_supervised(policy, examples, SETTINGS).rows:
        assert list(row.prompt) == policy.prompter.ids(row.example.messages, row.example.tools)


@pytest.mark.parametrize("how", [EXACT, JSON], ids=["hermes", "json"])
def test_the_judge_finds_every_completion_right(
    make_policy: Callable[..., Policy], examples: list[Example], how: LoadSettings
) -> None:
    policy = make_policy(how)
    rows = prepare_supervised(policy, examples, SETTINGS).rows
    texts = policy.decode([row.completion for row in rows])
    for text, row in zip(texts, rows, strict=True):
        parsed = syntaxes.read(policy.prompter.syntax, text, finished=True)
        assert judge(parsed, row.example.calls).exact


def test_of_several_accepted_values_the_row_s_first_is_trained_on(policy: Policy) -> None:
    call = ExpectedCall("get_weather", {"city": "Oslo"}, {"city": ("Kristiania", "OSL")})
    text = written(policy, Example("x", user("oslo?"), (weather_tool(),), (call,)))
    assert '"Oslo"' in text and "Kristiania" not in text


def test_a_marker_in_an_argument_stays_text(policy: Policy) -> None:
    call = ExpectedCall("get_weather", {"city": "<|im_end|></tool_call>"})
    example = Example("x", user("?"), (weather_tool(),), (call,))
    [row] = prepare_supervised(policy, [example], SETTINGS).rows
    for marker in ("<|im_end|>", "</tool_call>"):  # once each: where the syntax ends
        assert row.completion.count(policy.tokenizer.convert_tokens_to_ids(marker)) == 1
    assert policy.tokenizer.decode(row.completion).count("<|im_end|>") == 2


def test_a_row_without_a_call_is_answered_in_words_not_with_silence(
    policy: Policy, examples: list[Example]
) -> None:
    # hermes has no way to write "no call", and the judge takes an empty completion for a fault
    assert written(policy, examples[2]) == f"{NO_CALL_TEXT}<|im_end|>"
    assert written(policy, examples[2], no_call_text="Sorry.") == "Sorry.<|im_end|>"


def test_a_row_s_own_words_come_first(policy: Policy, examples: list[Example]) -> None:
    example = dataclasses.replace(examples[2], completion="A joke: none.")
    assert written(policy, example, no_call_text="Sorry.") == "A joke: none.<|im_end|>"


def test_words_that_would_be_read_as_a_call_are_not_trained_on(
    policy: Policy, examples: list[Example]
) -> None:
    example = dataclasses.replace(examples[2], completion="<tool_call> is what I would need")
    assert written(policy, example) == f"{NO_CALL_TEXT}<|im_end|>"


def test_plain_json_has_its_own_way_to_make_no_call(
    make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    example = dataclasses.replace(examples[2], completion="Sorry.")  # prose is no JSON
    assert written(make_policy(JSON), example) == "[]<|im_end|>"


def test_a_no_call_text_that_the_syntax_does_not_read_so_is_refused(
    make_policy: Callable[..., Policy], examples: list[Example]
) -> None:
    with pytest.raises(ConfigError, match=r"no_call_text = 'Sorry\.'.*'json'"):
        prepare_supervised(make_policy(JSON), examples, SFTSettings(no_call_text="Sorry."))


def test_the_stop_token_is_the_one_the_template_writes(policy: Policy) -> None:
    end, stop = (policy.tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>"))
    policy.stop_ids = (end, stop)
    assert closing_id(policy, calls=True) == closing_id(policy, calls=False) == stop
    policy.stop_ids = (end,)  # what the template writes stops nothing
    assert closing_id(policy, calls=True) == end


def test_rows_that_do_not_read_back_are_named(
    policy: Policy, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = policy.prompter.completion_ids
    short = dataclasses.replace(policy.prompter)
    object.__setattr__(short, "completion_ids", lambda said: real(said)[:-1])  # a lossy tokenizer
    policy.prompter = short
    with pytest.raises(DataError, match=r"row 'one': .*unclosed") as caught:
        prepare_supervised(policy, examples, SETTINGS)
    assert len(caught.value.problems) == 2  # prose stays prose without its last token


def test_rows_over_max_length_are_skipped_or_refused(
    policy: Policy, examples: list[Example]
) -> None:
    lengths = [len(row) for row in prepare_supervised(policy, examples, SETTINGS).rows]
    limit = sorted(lengths)[1]
    found = prepare_supervised(policy, examples, SFTSettings(max_length=limit))
    assert [len(row) for row in found.rows] == [n for n in lengths if n <= limit]
    assert "prompts with their completions over" in (found.note() or "")
    with pytest.raises(PromptTooLong, match=r"1 of 3 .* raise max_length"):
        prepare_supervised(policy, examples, SFTSettings(max_length=limit, too_long="refuse"))


def test_other_words_make_other_rows(policy: Policy, examples: list[Example]) -> None:
    rows = prepare_supervised(policy, examples, SETTINGS).rows
    others = prepare_supervised(policy, examples, SFTSettings(no_call_text="Sorry.")).rows
    assert digest(rows) != digest(others)
