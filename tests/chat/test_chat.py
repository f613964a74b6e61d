"""A conversation with a real file: what each prompt holds, and what is shown of an answer."""

from __future__ import annotations

import pytest

from edgetool.calls.types import ToolCall
from edgetool.chat.ask import ask
from edgetool.chat.chat import Chat
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Sampling
from tests.conftest import music_tool, weather_tool

TOOLS = (weather_tool(), music_tool())


@pytest.fixture(scope="module")
def nano(nano_gguf):
    with LlamaSession(nano_gguf, context=512) as opened:
        yield opened


def test_the_first_answer_is_the_one_of_a_single_question(nano):
    answer = Chat(nano, TOOLS).ask("weather in Oslo")
    alone = ask(nano, "weather in Oslo", TOOLS)
    assert answer.calls == alone.calls == (ToolCall("get_weather", {"city": "Oslo"}),)


def test_what_a_tool_said_is_in_the_next_prompt(nano):
    chat = Chat(nano, TOOLS, system="Be brief.", sampling=Sampling(max_completion_length=30))
    answer = chat.ask("weather in Oslo")
    chat.tell(answer.calls, ["rain all day"])
    roles = [message["role"] for message in chat.messages]
    assert roles == ["system", "user", "assistant", "tool"]
    called, told = chat.messages[2:]
    assert called["tool_calls"][0]["function"] == answer.calls[0].as_json()
    assert told["tool_call_id"] == called["tool_calls"][0]["id"]
    ids = nano.prompter.ids(chat.messages, TOOLS)
    prompt = nano.engine.llama.detokenize(ids, special=True).decode()
    assert "Be brief." in prompt and "rain all day" in prompt and '{"city": "Oslo"}' in prompt


def test_ids_of_calls_are_unique_and_fit_mistral(nano):
    chat = Chat(nano, TOOLS)
    for _ in range(2):
        chat.ask("weather in Oslo")
    ids = [call["id"] for m in chat.messages for call in m.get("tool_calls", ())]
    assert len(set(ids)) == len(ids) == 2
    assert all(len(one) == 9 and one.isalnum() for one in ids)


@pytest.mark.parametrize(("said", "calls"), [("weather in Oslo", 1), ("tell me a joke", 0)])
def test_prose_is_shown_while_it_is_written_and_calls_are_not(nano, said, calls):
    shown = []
    answer = Chat(nano, TOOLS, on_text=shown.append).ask(said)
    assert len(answer.calls) == calls
    assert "".join(shown) == answer.text
    assert (len(shown) > 1) == (calls == 0)  # piece by piece
