"""Every data set's own spelling becomes the same row."""

from __future__ import annotations

import json

import pytest

from edgetool.calls.types import Example
from edgetool.data import importers
from edgetool.data.check import Problem
from edgetool.data.draft import Draft, finish
from edgetool.errors import UsageError
from tests.data.importers.records import (
    CALL,
    OSLO,
    QUOTED,
    RECORDS,
    SAID,
    SPELLINGS,
    TOOLRL_SYSTEM,
    TOOLRL_WANTED,
    WEATHER,
    WRAPPED,
    shared_gpt,
    toucan_run,
)


def read(name: str, record: dict, companions=None) -> list[Example]:
    found = importers.named(name).drafts(record, companions)
    return [finish(one) if isinstance(one, Draft) else one for one in found]


def test_every_importer_offers_the_same_names():
    for name, module in importers.known().items():
        assert name == module.NAME and module.ABOUT and isinstance(module.EVALUATION_ONLY, bool)
        assert all(callable(getattr(module, f)) for f in ("recognises", "drafts", "companions"))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_recognised_as_its_own_data_set(name):
    assert importers.recognise(RECORDS[name]) == name


@pytest.mark.parametrize("name", RECORDS)
def test_the_same_request_gives_the_same_row_from_every_data_set(name):
    [row] = read(name, RECORDS[name])
    assert row.utterance == SAID
    assert [(call.name, call.arguments) for call in row.calls] == [("get_weather", OSLO)]
    schema = next(tool for tool in row.tools if tool.name == "get_weather").parameters
    assert schema["properties"]["city"]["type"] == "string"
    assert schema["properties"]["days"]["type"] == "integer"
    assert "days" not in schema["required"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_the_request_give_that_row_too(spelling):
    name, record, left_out = SPELLINGS[spelling]
    assert importers.recognise(record) == name
    [draft] = importers.named(name).drafts(record, None)
    row = finish(draft)
    assert [(call.name, call.arguments) for call in row.calls] == [("get_weather", OSLO)]
    assert row.utterance == SAID and [tool.name for tool in row.tools] == ["get_weather"]
    assert [message["role"] for message in row.messages] == ["user"]
    assert list(draft.left_out) == left_out


def test_xlams_types_become_schemas_with_their_values():
    [row] = read(*SPELLINGS["xlam: python's types"][:2])
    schema = row.tools[0].parameters
    assert schema["required"] == ["city"]
    types = {name: {**one} for name, one in schema["properties"].items()}
    for one in types.values():
        one.pop("description"), one.pop("default", None)
    pair = {"type": "array", "items": {"type": "number"}}
    assert types == {
        "city": {"type": "string", "enum": ["Oslo", "L'Aquila"]},
        "days": {"type": "integer"},
        "unit": {"type": "string"},
        "span": {"type": "array", "items": pair},
        "extra": {"type": "object", "additionalProperties": {"type": "integer"}},
    }


TWO = [CALL, {"name": "get_weather", "arguments": {"city": "L'Aquila"}}]
BOTH = {"role": "assistant", "content": f"<TOOLCALL>{json.dumps(TWO)}</TOOLCALL>"}


@pytest.mark.parametrize(
    ("name", "record"),
    [
        (
            "glaive",
            {
                **RECORDS["glaive"],
                "chat": f"USER: {SAID}\n\n\nASSISTANT: Both. <functioncall> {QUOTED} "
                "<functioncall> "
                '{"name": "get_weather", "arguments": \'{"city": "L\\\'Aquila"}\'} <|endoftext|>',
            },
        ),
        (
            "sharegpt",
            shared_gpt(("gpt", "".join(f"<tool_call>\n{call}\n</tool_call>\n" for call in TWO))),
        ),
        ("sharegpt", shared_gpt(("gpt", f"<tool_call>{json.dumps(TWO)}</tool_call>"))),
        ("sharegpt", shared_gpt(*[("function_call", json.dumps(call)) for call in TWO])),
        ("toucan", toucan_run(*[("tool_call", str(call)) for call in TWO])),
        ("when2call-train", {**RECORDS["when2call-train"], "chosen_response": BOTH}),
    ],
)
def test_calls_made_at_once_are_one_turn(name, record):
    [row] = read(name, record)
    assert [call.arguments for call in row.calls] == [OSLO, {"city": "L'Aquila"}]


def test_when2calls_rows_for_training_are_not_its_test():
    asks = {"role": "assistant", "content": "Which city?"}
    record = {"tools": [json.dumps(WEATHER)], "messages": [user("weather?"), asks]}
    assert importers.recognise(record) == "when2call-train"
    [row] = read("when2call-train", record)
    assert row.calls == () and row.completion == "Which city?"
    assert not importers.named("when2call-train").EVALUATION_ONLY
    assert importers.named("when2call").EVALUATION_ONLY


def test_a_toucan_row_without_a_call_is_an_abstention():
    [row] = read("toucan", toucan_run(("assistant", "<think>no</think>I have no such tool.")))
    assert row.calls == () and row.completion == "I have no such tool."


def test_results_between_tags_become_results():
    answers = "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"
    made = f"<tool_call>{CALL}</tool_call>"
    record = shared_gpt(("gpt", made), ("tool", answers), ("gpt", "Mixed."), ("human", "again"))
    record["conversations"].append({"from": "gpt", "value": made})
    rows = read("sharegpt", record)
    assert [m["content"] for m in rows[1].messages if m["role"] == "tool"] == ["rain", "sun"]


def test_what_a_system_message_says_before_its_tools_stays():
    system = f"You are Bob.\n\n# Tools\n\n<tools>\n{json.dumps(WEATHER)}\n</tools>\nCall them."
    record = shared_gpt(("gpt", f"<tool_call>{CALL}</tool_call>"), system=system, tools="[]")
    [row] = read("sharegpt", record)
    assert row.messages[0] == {"role": "system", "content": "You are Bob."}
    assert [tool.name for tool in row.tools] == ["get_weather"]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{'name': 'get_weather', 'arguments': __import__('os')}</tool_call>",
        "<tool_call>{'name': 'get_weather'",
        "<tool_call>get_weather</tool_call>",
        "<functioncall> get_weather()",
        "<TOOLCALL>[...]</TOOLCALL>",
        "<TOOLCALL>{}</TOOLCALL>",
    ],
)
def test_calls_between_tags_that_cannot_be_read_are_refused(text):
    with pytest.raises(Problem):
        read("sharegpt", shared_gpt(("gpt", text)))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown data set 'xlamm'; known: bfcl, .*xlam"):
        importers.named("xlamm")


@pytest.mark.parametrize("record", [{}, [], None, {"text": "a"}, {"messages": 3}])
def test_what_is_no_data_set_is_not_recognised(record):
    assert importers.recognise(record) is None


def conversation(*turns):
    return {"messages": list(turns), "tools": [WEATHER]}


CALLS = {"role": "assistant", "tool_calls": [WRAPPED]}
RESULT = {"role": "tool", "content": "rain"}


def user(text):
    return {"role": "user", "content": text}


def test_a_conversation_gives_a_row_for_each_turn_that_calls():
    rows = read("openai", conversation(user("a"), CALLS, RESULT, user("b"), CALLS))
    assert [len(row.messages) for row in rows] == [1, 4]
    assert rows[1].messages[1]["tool_calls"][0]["function"]["arguments"] == OSLO


def test_a_conversation_without_a_call_gives_one_row_that_expects_none():
    [row] = read("openai", conversation(user("hi"), {"role": "assistant", "content": "Hello."}))
    assert row.calls == () and row.completion == "Hello."


def test_the_older_function_call_of_openai_is_read():
    old = {"role": "assistant", "content": None, "function_call": WRAPPED["function"]}
    [row] = read("openai", {"messages": [user(SAID), old], "functions": [WEATHER]})
    assert row.calls[0].arguments == OSLO


def test_a_trl_row_of_prompt_and_completion_is_read():
    [row] = read("openai", {"prompt": [user(SAID)], "completion": [CALLS], "tools": [WEATHER]})
    assert row.calls[0].arguments == OSLO


def test_text_in_parts_is_joined():
    parts = [{"type": "text", "text": "weather "}, {"type": "text", "text": "in Oslo"}]
    [row] = read("openai", conversation(user(parts), CALLS))
    assert row.utterance == "weather in Oslo"


def test_calls_inside_tags_are_calls_and_not_words():
    tagged = f"Let me see.\n<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
    [row] = read("openai", conversation(user(SAID), {"role": "assistant", "content": tagged}))
    assert row.calls[0].arguments == OSLO


def test_calls_in_a_spelling_unknown_here_do_not_become_an_abstention():
    text = {"role": "assistant", "content": "[TOOL_CALLS]get_weather[ARGS]{}"}
    with pytest.raises(Problem, match="writes its calls as text"):
        read("openai", conversation(user(SAID), text))


def test_names_with_spaces_are_spelled_with_underscores_in_tools_and_calls_alike():
    tool = {**WEATHER, "name": "Get Weather (v2)"}
    record = {
        **RECORDS["toolace"],
        "system": f"functions in JSON format that you can invoke:\n{json.dumps([tool])}",
        "conversations": [
            user_turn(SAID),
            {"from": "assistant", "value": "[Get Weather (v2)(city='Oslo')]"},
        ],
    }
    with pytest.raises(Problem):  # brackets in a name cannot be told from a call's
        read("toolace", record)
    tool["name"] = "Get Weather"
    record["system"] = f"functions in JSON format that you can invoke:\n{json.dumps([tool])}"
    record["conversations"][1]["value"] = "[Get Weather(city='Oslo')]"
    [row] = read("toolace", record)
    assert row.tools[0].name == row.calls[0].name == "Get_Weather"


def user_turn(text):
    return {"from": "user", "value": text}


def test_glaives_arguments_may_hold_quotes():
    record = dict(RECORDS["glaive"])
    record["chat"] = record["chat"].replace('"Oslo"', '"L\\\'Aquila"')
    [row] = read("glaive", record)
    assert row.calls[0].arguments["city"] == "L'Aquila"


def test_toolrls_sft_rows_and_its_api_bank_rows_are_read():
    history = f"**Dialogue Records History**\n<user> {SAID} </user>"
    sft = {"instruction": TOOLRL_SYSTEM, "input": history, "output": TOOLRL_WANTED}
    bank = {
        "system": TOOLRL_SYSTEM.replace('"', "'"),  # Python's spelling, as API-Bank's rows have
        "user": f"{history}\n<user> Based on our conversation above, please only make one tool "
        "call to solve my need.</user>",
        "answer": {"name": "get_weather", "parameters": OSLO},
    }
    for record in (sft, bank):
        assert importers.recognise(record) == "toolrl"
        [row] = read("toolrl", record)
        assert row.calls[0].arguments == OSLO and len(row.messages) == 1


def test_toolrls_history_becomes_turns():
    record = json.loads(json.dumps(RECORDS["toolrl"]))
    record["prompt"][1]["content"] = (
        f"<user> {SAID} </user>\n<think> hm </think>\n<tool_call>\n"
        '{"name": "get_weather", "parameters": {"city": "Oslo"}}\n</tool_call>\n'
        "<obs> rain </obs>\n<response> It rains. </response>\n<user> and 2 days? </user>"
    )
    [row] = read("toolrl", record)
    assert [m["role"] for m in row.messages] == ["user", "assistant", "tool", "assistant", "user"]


def test_an_answer_in_words_is_an_abstention():
    record = json.loads(json.dumps(RECORDS["toolrl"]))
    record["reward_model"]["ground_truth"] = (
        "<think> no </think>\n<response> Which city? </response>"
    )
    [row] = read("toolrl", record)
    assert row.calls == () and row.completion == "Which city?"


def test_when2calls_other_answers_are_abstentions():
    [row] = read("when2call", {**RECORDS["when2call"], "correct_answer": "cannot_answer"})
    assert row.calls == () and row.completion == "I can't."


def test_seal_tools_rows_offer_the_tools_they_call():
    tool = {
        "api_name": "getArea",
        "api_description": "Area",
        "field": "Maths/Geometry",
        "parameters": {"base": {"type": "int", "description": "Base"}},
        "required": ["base"],
    }
    record = {
        "id": "dev-1",
        "query": "area of base 3",
        "calling": [{"api": "getArea", "parameters": {"base": 3}, "responses": ["API_call_0"]}],
    }
    assert importers.recognise(record) == "seal-tools"
    [row] = read("seal-tools", record, {"getArea": tool})
    assert row.calls[0].arguments == {"base": 3} and row.tools[0].required == ("base",)
    assert row.metadata["services"] == {"getArea": "Maths"}
    record["calling"][0]["parameters"] = {"base": "API_call_0"}
    with pytest.raises(Problem, match="has a call's result in it"):
        read("seal-tools", record, {"getArea": tool})


def test_an_unknown_snips_intent_becomes_a_tool_of_its_own():
    said = [{"text": "turn the "}, {"text": "lamp ", "entity": "device"}, {"text": "on"}]
    record = {"SwitchOn": [{"data": said}]}
    assert importers.recognise(record) == "snips"
    [row] = read("snips", record, {})
    assert row.utterance == "turn the lamp on"
    assert (row.calls[0].name, row.calls[0].arguments) == ("SwitchOn", {"device": "lamp"})


SGD_SERVICE = {
    "service_name": "Restaurants_1",
    "slots": [
        {"name": "city", "description": "City", "is_categorical": False, "possible_values": []},
        {
            "name": "price",
            "description": "Price",
            "is_categorical": True,
            "possible_values": ["low", "high"],
        },
    ],
    "intents": [
        {
            "name": "FindRestaurants",
            "description": "Find a place to eat",
            "required_slots": ["city"],
            "optional_slots": {"price": "dontcare"},
        }
    ],
}


def sgd_dialogue():
    call = {"method": "FindRestaurants", "parameters": {"city": "Oslo", "price": "low"}}
    frame = {"service": "Restaurants_1", "service_call": call, "service_results": [{"name": "X"}]}
    return {
        "dialogue_id": "1_00000",
        "services": ["Restaurants_1"],
        "turns": [
            {"speaker": "USER", "utterance": "I want to eat", "frames": []},
            {"speaker": "SYSTEM", "utterance": "Where?", "frames": [{"service": "Restaurants_1"}]},
            {"speaker": "USER", "utterance": "Oslo, cheap", "frames": []},
            {"speaker": "SYSTEM", "utterance": "How about X?", "frames": [frame]},
        ],
    }


def test_sgd_gives_a_row_for_each_call_of_a_service():
    assert importers.recognise(sgd_dialogue()) == "sgd"
    [row] = read("sgd", sgd_dialogue(), {"Restaurants_1": SGD_SERVICE})
    assert [m["content"] for m in row.messages] == ["I want to eat", "Where?", "Oslo, cheap"]
    assert row.calls[0].arguments == {"city": "Oslo", "price": "low"}
    assert row.tools[0].parameters["properties"]["price"]["enum"] == ["low", "high", "dontcare"]
    assert row.tools[0].required == ("city",)
    assert row.metadata["services"] == {"FindRestaurants": "Restaurants_1"}


def test_intents_that_two_services_share_are_told_apart():
    other = {**SGD_SERVICE, "service_name": "Restaurants_2"}
    dialogue = {**sgd_dialogue(), "services": ["Restaurants_1", "Restaurants_2"]}
    [row] = read("sgd", dialogue, {"Restaurants_1": SGD_SERVICE, "Restaurants_2": other})
    assert row.calls[0].name == "Restaurants_1_FindRestaurants" and len(row.tools) == 2


def bfcl_record(**fields):
    function = {
        "name": "area",
        "description": "Area.",
        "parameters": {
            "type": "dict",
            "properties": {"base": {"type": "float"}, "unit": {"type": "integer"}},
            "required": ["base"],
        },
    }
    question = [[{"role": "user", "content": "area of a triangle with base 10"}]]
    return {"id": "simple_python_0", "question": question, "function": [function], **fields}


def test_bfcl_keeps_the_accepted_values_that_fit_the_schema():
    answers = {"simple_python_0": [{"area": {"base": ["ten", 10, 10.5], "unit": [""]}}]}
    [row] = read("bfcl", bfcl_record(), answers)
    # "ten" is no number, and "" no unit: it stands for an argument that may be left out
    assert row.calls[0].arguments == {"base": 10}
    assert row.calls[0].alternatives == {"base": (10.5,)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("multi_turn_base", "scored by running their tools"),
        ("live_relevance", "any call counts as right"),
        ("simple_java", "Java or JavaScript"),
        ("web_search", "agentic"),
        ("multiple", "needs its answers in"),
    ],
)
def test_bfcl_categories_that_cannot_be_rows_are_named(tmp_path, name, reason):
    with pytest.raises(UsageError, match=reason):
        importers.named("bfcl").companions(tmp_path / f"BFCL_v4_{name}.json")


def test_a_row_without_tools_teaches_nothing_and_is_refused():
    with pytest.raises(Problem, match="offers no tool"):
        read("openai", {**conversation(user("a"), CALLS), "tools": []})


def test_a_call_to_no_tool_of_the_row_is_refused():
    record = {**RECORDS["xlam"], "answers": '[{"name": "fly", "arguments": {}}]'}
    with pytest.raises(Problem, match="is not among the row's tools"):
        read("xlam", record)


@pytest.mark.parametrize("answers", ["[", "3", '[{"name": 3}]', '["x"]', '[{"arguments": {}}]'])
def test_answers_that_are_no_calls_are_refused_with_a_reason(answers):
    with pytest.raises(Problem):
        read("xlam", {**RECORDS["xlam"], "answers": answers})
