"""SGD-X from made records in its published form."""

from __future__ import annotations

import copy
import json

import pytest

from edgetool.calls.judge.match import judge_example
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import ToolCall
from edgetool.data import importers
from edgetool.data.draft import finish
from edgetool.errors import DataError
from edgetool.eval import suites


def slot(name, values=()):
    listed = list(values)
    return {
        "name": name,
        "description": f"the {name}",
        "is_categorical": bool(listed),
        "possible_values": listed,
    }


def intent(name, required, optional):
    return {
        "name": name,
        "description": f"do {name}",
        "is_transactional": True,
        "required_slots": required,
        "optional_slots": optional,
        "result_slots": [],
    }


HOTELS = {"service_name": "Hotels_1", "description": "", "slots": [], "intents": []}
ORIGINAL = {
    "service_name": "Restaurants_2",
    "description": "Tables",
    "slots": [slot("date"), slot("number_of_seats", ["1", "2"]), slot("place")],
    "intents": [
        intent("FindRestaurants", ["place"], {}),
        intent("Reserve", ["date", "place"], {"number_of_seats": "2"}),
    ],
}
VARIANT = {
    "service_name": "Restaurants_21",
    "description": "Somewhere to eat",
    "slots": [slot("day"), slot("party", ["1", "2"]), slot("venue")],
    "intents": [
        intent("SearchEateries", ["venue"], {}),
        intent("BookTable", ["day", "venue"], {"party": "2"}),
    ],
}


def user(text, **slot_values):
    state = {"active_intent": "Reserve", "requested_slots": [], "slot_values": slot_values}
    frame = {"service": "Restaurants_2", "actions": [], "slots": [], "state": state}
    return {"speaker": "USER", "utterance": text, "frames": [frame]}


def system(text, method=None, results=(), **parameters):
    frame = {"service": "Restaurants_2", "actions": [], "slots": []}
    if method:
        frame["service_call"] = {"method": method, "parameters": parameters}
        frame["service_results"] = list(results)
    return {"speaker": "SYSTEM", "utterance": text, "frames": [frame]}


DIALOGUE = {
    "dialogue_id": "1_00000",
    "services": ["Restaurants_2"],
    "turns": [
        user("anything at the harbour?", place=["the harbour"]),
        system("Chang's", "FindRestaurants", [{"place": "Harbour", "date": "x"}], place="Harbour"),
        user("a table on the 8th", place=["the harbour"], date=["March 8th", "the 8th"]),
        system("Booked", "Reserve", date="2019-03-08", place="Harbour", number_of_seats="2"),
    ],
}


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "test" / "schema.json", [HOTELS, ORIGINAL])
    put(tmp_path / "test" / "dialogues_001.json", [DIALOGUE])
    put(tmp_path / "sgd_x" / "data" / "v1" / "test" / "schema.json", [HOTELS, VARIANT])
    return tmp_path


def rows(folder, category="v1"):
    [found] = suites.load(f"sgd-x:{category}", folder).values()
    assert found.skipped == ()
    return found.examples


def test_the_original_and_each_variant_that_is_there_are_categories(folder):
    assert list(suites.load("sgd-x", folder)) == ["sgd-x:original", "sgd-x:v1"]


def test_rows_have_the_same_ids_and_conversations_under_every_schema(folder):
    one, other = rows(folder, "original"), rows(folder, "v1")
    assert [row.id for row in one] == [row.id for row in other] == ["1_00000/1", "1_00000/3"]
    asked = {"role": "user", "content": "anything at the harbour?"}
    assert one[0].messages == other[0].messages == (asked,)


def test_tools_and_right_calls_are_in_the_variants_words(folder):
    find, book = rows(folder)
    assert [tool.name for tool in book.tools] == ["SearchEateries", "BookTable"]
    assert find.calls[0].arguments == {"venue": "Harbour"}
    assert book.calls[0].name == "BookTable"
    assert book.calls[0].arguments == {"day": "2019-03-08", "venue": "Harbour", "party": "2"}


def test_earlier_calls_and_their_results_are_in_the_variants_words(folder):
    _, book = rows(folder)
    call, result = book.messages[1:3]
    function = {"name": "SearchEateries", "arguments": {"venue": "Harbour"}}
    assert call["tool_calls"] == [{"type": "function", "function": function}]
    assert json.loads(result["content"]) == [{"venue": "Harbour", "day": "x"}]


@pytest.mark.parametrize(
    ("arguments", "exact"),
    [
        ({"day": "2019-03-08", "venue": "Harbour", "party": "2"}, True),
        ({"day": "March 8th", "venue": "the harbour", "party": "2"}, True),  # as they were said
        ({"day": "the 8th", "venue": "Harbour"}, True),  # the party is two unless said otherwise
        ({"day": "March 9th", "venue": "Harbour"}, False),
        ({"day": "the 8th", "venue": "Harbour", "party": "1"}, False),
        ({"date": "the 8th", "place": "Harbour"}, False),  # the original's words
    ],
)
def test_a_value_is_right_as_it_was_said_and_a_default_may_be_left_out(folder, arguments, exact):
    _, book = rows(folder)
    made = Parsed(calls=(ToolCall("BookTable", arguments),))
    assert judge_example(made, book).exact is exact


@pytest.mark.parametrize("break_", ["slots", "intents", "service"])
def test_a_variant_that_does_not_follow_the_original_is_refused(folder, break_):
    broken = copy.deepcopy(VARIANT)
    if break_ != "service":
        broken[break_].pop()
    services = [HOTELS] if break_ == "service" else [HOTELS, broken]
    path = folder / "sgd_x" / "data" / "v1" / "test" / "schema.json"
    put(path, services)
    with pytest.raises(DataError, match=rf"{path}: does not follow .*test/schema\.json"):
        suites.load("sgd-x:v1", folder)


def test_a_published_answer_that_its_schema_refuses_stays_as_it_is(folder):
    odd = copy.deepcopy(DIALOGUE)
    odd["turns"][3]["frames"][0]["service_call"]["parameters"]["number_of_seats"] = "7"
    put(folder / "test" / "dialogues_001.json", [odd])
    found = suites.load("sgd-x:v1", folder)["sgd-x:v1"]
    assert [row.id for row in found.examples] == ["1_00000/1", "1_00000/3"]
    assert found.examples[1].calls[0].arguments["party"] == "7"


def test_a_row_of_a_service_that_nobody_knows_is_named(folder):
    unknown = {**DIALOGUE, "dialogue_id": "2", "services": ["Trains_1"]}
    put(folder / "test" / "dialogues_001.json", [DIALOGUE, unknown])
    found = suites.load("sgd-x:v1", folder)["sgd-x:v1"]
    assert [row.id for row in found.examples] == ["1_00000/1", "1_00000/3"]
    assert [line.partition(":")[0] for line in found.skipped] == ["2/1", "2/3"]


def test_an_optional_slots_default_is_one_of_its_values():
    service = copy.deepcopy(ORIGINAL)
    service["intents"][1]["optional_slots"] = {"number_of_seats": "dontcare"}
    dialogue = copy.deepcopy(DIALOGUE)
    dialogue["turns"][3]["frames"][0]["service_call"]["parameters"]["number_of_seats"] = "dontcare"
    drafts = importers.named("sgd").drafts(dialogue, {"Restaurants_2": service})
    *_, row = map(finish, drafts)
    seats = row.tools[1].parameters["properties"]["number_of_seats"]
    assert seats["enum"] == ["1", "2", "dontcare"]
    assert row.calls[0].arguments["number_of_seats"] == "dontcare"
