from __future__ import annotations

import json

import pytest

from edgetool.errors import UsageError
from edgetool.eval import suites


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


CITY = {"type": "dict", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Weather.", "parameters": CITY}


def bfcl_row(name, tools=(WEATHER,)):
    return {"id": name, "question": [[{"role": "user", "content": "hi"}]], "function": list(tools)}


@pytest.fixture
def bfcl(tmp_path):
    """simple: s0 answered, s1 without an answer, s2 without tools; irrelevance: i0."""
    folder = tmp_path / "bfcl_v4"
    lines(folder / "BFCL_v4_simple.json", [bfcl_row("s0"), bfcl_row("s1"), bfcl_row("s2", [])])
    truth = [{"get_weather": {"city": ["Oslo"]}}]
    lines(
        folder / "possible_answer" / "BFCL_v4_simple.json",
        [{"id": "s0", "ground_truth": truth}],
    )
    lines(folder / "BFCL_v4_irrelevance.json", [bfcl_row("i0")])
    return tmp_path


def test_rows_without_tools_or_answer_are_counted_and_named(bfcl):
    [(name, found)] = suites.load("bfcl:simple", bfcl).items()
    assert name == "bfcl:simple"
    assert [row.id for row in found.examples] == ["s0"]
    assert found.skipped == ("s1: no right answer", "s2: no tools on offer")


def test_a_suite_without_categories_named_gives_all_of_them(bfcl):
    assert list(suites.load("bfcl", bfcl)) == ["bfcl:irrelevance", "bfcl:simple"]


def test_the_folder_itself_may_be_the_root(bfcl):
    assert list(suites.load("bfcl:irrelevance", bfcl / "bfcl_v4")) == ["bfcl:irrelevance"]


def test_a_missing_category_lists_the_known_ones(bfcl):
    with pytest.raises(
        UsageError, match=r"no bfcl category 'live'.*known there: irrelevance, simple"
    ):
        suites.load("bfcl:simple,live", bfcl)


def test_an_unknown_suite_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="known: bfcl, seal-tools, when2call, api-bank, sgd-x"):
        suites.load("gaia", tmp_path)


@pytest.mark.parametrize("name", suites.names())
def test_a_suite_that_is_not_there_says_where_it_looked(tmp_path, name):
    with pytest.raises(UsageError, match=rf"no files of suite '{name}' .*{tmp_path}.*--suite-root"):
        suites.load(name, tmp_path)


def seal(folder, calls):
    api = {"api_description": "", "field": "A/b", "parameters": {"n": {"type": "int"}}}
    tools = [{**api, "api_name": f"api{i}", "required": ["n"]} for i in range(9)]
    lines(folder / "tool.jsonl", tools)
    rows = [{"id": f"r{i}", "query": "q", "calling": call} for i, call in enumerate(calls)]
    lines(folder / "dev.jsonl", rows)
    return suites.load("seal-tools:dev", folder)["seal-tools:dev"]


def test_seal_tools_offers_the_right_api_among_others(tmp_path):
    [row] = seal(tmp_path, [[{"api": "api3", "parameters": {"n": "85"}}]]).examples
    assert len(row.tools) == 6 and "api3" in [tool.name for tool in row.tools]
    assert row.calls[0].arguments == {"n": 85}  # spelled as text, declared as an int
    assert row.tools[0].parameters["properties"] == {"n": {"type": "integer"}}


def test_seal_tools_leaves_out_what_one_turn_cannot_answer(tmp_path):
    call = {"api": "api3", "parameters": {"n": "API_call_0"}}
    gone = {"api": "gone", "parameters": {}}
    odd = {"api": "api3", "parameters": {"m": 1}}
    found = seal(tmp_path, [[call], [gone], [odd], []])
    assert found.examples == ()
    assert found.skipped == (
        'r0: calling[0].parameters {"n": "API_call_0"} has a call\'s result in it',
        'r1: calling[0].api "gone" is not in tool.jsonl',
        "r2: calls[0].arguments.m 1 is no parameter of api3 (n)",
        "r3: no right answer",
    )


@pytest.mark.parametrize(
    ("spec", "scored", "skipped"),
    [
        # counted in the files themselves: seal-tools dev has 700 rows, 28 of them nested, 1 beside
        # a tool whose parameter is no schema; when2call has 100 a category, 17 without tools;
        # api-bank calls a tool that is not there or gives it a device_id it does not have
        ("seal-tools:dev", 671, 29),
        ("when2call:tool_call", 100, 0),
        ("when2call:cannot_answer", 83, 17),
        ("api-bank:level-1", 391, 8),
        ("api-bank:level-2", 61, 6),
        ("bfcl:simple_python", 400, 0),
        ("bfcl:live_irrelevance", 880, 4),
    ],
)
def test_real_suites_load_whole(shared, spec, scored, skipped):
    [found] = suites.load(spec, shared / "data").values()
    assert (len(found.examples), len(found.skipped)) == (scored, skipped)
    assert len({row.id for row in found.examples}) == scored


def test_a_dialogue_of_api_bank_becomes_turns(shared):
    [found] = suites.load("api-bank:level-1", shared / "data").values()
    with_calls = next(row for row in found.examples if any("tool_calls" in m for m in row.messages))
    roles = [message["role"] for message in with_calls.messages]
    assert roles[0] == "user" and "tool" in roles
    assert not any("<user>" in (message["content"] or "") for message in with_calls.messages)
