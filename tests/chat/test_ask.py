from __future__ import annotations

import pytest

from edgetool.calls.types import Tool, ToolCall
from edgetool.chat.ask import ask
from edgetool.llama.session import LlamaSession


def meaningless(name: str, description: str, **parameters: str) -> Tool:
    """A tool whose names say nothing: only descriptions tell what it and its parameters are for."""
    properties = {key: {"type": "string", "description": what} for key, what in parameters.items()}
    return Tool(name, description, {"type": "object", "properties": properties})


NAMELESS = (
    meaningless("zog", "Weather forecast", qua="city", blen="date or time"),
    meaningless("frumi", "Play music", ota="artist"),
)


def test_ask_gives_the_calls_of_the_answer(session, examples):
    answer = ask(session, "weather in Oslo please", examples[0].tools)
    assert answer.calls == session.syntax.parse(answer.completion.text).calls
    assert answer.text == ("" if answer.calls else answer.completion.text)


@pytest.mark.parametrize(
    ("said", "calls"),
    [
        ("will it rain in Reykjavik", (ToolCall("zog", {"qua": "Reykjavik"}),)),
        ("play something by Nina Simone", (ToolCall("frumi", {"ota": "Nina Simone"}),)),
        ("book a table for two", ()),
    ],
)
def test_nano_reads_what_tools_do_where_their_names_say_nothing(nano_gguf, said, calls):
    with LlamaSession(nano_gguf, context=512) as nano:
        assert ask(nano, said, NAMELESS).calls == calls
