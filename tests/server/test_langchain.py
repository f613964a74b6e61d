"""LangChain's ChatOpenAI as a client, where it is installed: `pip install langchain-openai`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import music_tool, weather_tool
from tests.server.hosted import Hosted

langchain_openai = pytest.importorskip("langchain_openai")
pytestmark = pytest.mark.slow

ASKED = "What is the weather in Oslo?"
TOOLS = [weather_tool().as_openai(), music_tool().as_openai()]


@pytest.fixture(scope="module")
def model(nano_gguf: Path) -> Iterator[Any]:
    with Hosted(nano_gguf) as hosted:
        yield langchain_openai.ChatOpenAI(
            base_url=f"{hosted.url}/v1",
            api_key="unused",
            model="nano",
            temperature=0,
            max_retries=0,
        )


def test_a_required_call_comes_with_its_arguments_and_an_id(model):
    said = model.bind_tools(TOOLS, tool_choice="required").invoke(ASKED)
    assert said.invalid_tool_calls == []
    for call in said.tool_calls:
        tool = {"get_weather": weather_tool(), "play_music": music_tool()}[call["name"]]
        assert set(tool.required) <= set(call["args"]) <= set(tool.parameters["properties"])
        assert call["id"]
    assert said.tool_calls
    assert said.usage_metadata["output_tokens"] > 0


def test_a_named_tool_is_the_one_that_is_called(model):
    said = model.bind_tools(TOOLS, tool_choice="play_music").invoke(ASKED)
    assert {call["name"] for call in said.tool_calls} == {"play_music"}


def test_a_stream_adds_up_to_the_whole_answer(model):
    bound = model.bind_tools(TOOLS, tool_choice="required")
    whole, streamed = bound.invoke(ASKED), reduce(add, bound.stream(ASKED))
    told = [[(c["name"], c["args"]) for c in one.tool_calls] for one in (whole, streamed)]
    assert told[0] == told[1] != []


def test_a_result_goes_back_in(model):
    from langchain_core.messages import HumanMessage, ToolMessage

    bound = model.bind_tools(TOOLS, tool_choice="required")
    said = bound.invoke(ASKED)
    results = [ToolMessage("rain, 4 degrees", tool_call_id=c["id"]) for c in said.tool_calls]
    answer = model.invoke([HumanMessage(ASKED), said, *results])
    assert isinstance(answer.content, str) and answer.content


def test_structured_output_fits_its_schema(model):
    schema = {
        "title": "weather",
        "type": "object",
        "properties": {"sky": {"enum": ["rain", "sun"]}},
        "required": ["sky"],
        "additionalProperties": False,
    }
    held = model.with_structured_output(schema, method="json_schema")
    assert held.invoke(ASKED)["sky"] in ("rain", "sun")
