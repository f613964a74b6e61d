"""The user's functions: what may run, what they are given, and what the model is told."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import time

import pytest

from edgetool.calls.tools.python_tools import tool_from_function
from edgetool.calls.types import Tool, ToolCall
from edgetool.chat.agent import (
    DECLINED,
    FAILED,
    INVALID,
    MAX_RESULT,
    RAN,
    SKIPPED,
    Functions,
    converse,
)
from edgetool.chat.ask import Answer
from edgetool.errors import UsageError
from edgetool.runtime import Completion

OSLO = ToolCall("weather", {"city": "Oslo"})


def weather(city: str, days: int = 1) -> str:
    """Weather forecast.

    Args:
        city: City name
    """
    return f"rain in {city} for {days}"


def always(_):
    return True


def outcome(function, arguments):
    [ran] = Functions({function.__name__: function}).carry_out(
        [ToolCall(function.__name__, arguments)], always
    )
    return ran


def test_a_function_is_given_the_arguments_and_the_model_its_result():
    ran = outcome(weather, {"city": "Oslo", "days": 2})
    assert (ran.outcome, ran.result) == (RAN, "rain in Oslo for 2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, '"city" is a required property'),
        ({"city": 5}, "city: 5 is not of type"),
        ({"city": "Oslo", "days": "2"}, "days:"),
        ({"city": "Oslo", "days": 1.5}, "days:"),
        ({"city": "Oslo", "town": "x"}, "town"),
        ({"city": None}, "city:"),
        ({"city": ["Oslo"]}, "city:"),
    ],
)
def test_arguments_that_do_not_fit_never_reach_the_function(arguments, said):
    asked = []
    [ran] = Functions({"weather": weather}).carry_out(
        [ToolCall("weather", arguments)], asked.append
    )
    assert (ran.outcome, asked) == (INVALID, [])
    assert said in json.loads(ran.result)["error"]


def test_a_call_of_an_unknown_tool_names_the_known_ones():
    [ran] = Functions({"weather": weather}).carry_out([ToolCall("wether", {})], always)
    assert ran.outcome == INVALID
    assert json.loads(ran.result)["error"] == "there is no tool 'wether'; the tools are weather"


def test_nothing_of_an_answer_runs_when_one_of_its_calls_is_invalid():
    bought = []

    def buy() -> None:
        bought.append(1)

    calls = [ToolCall("buy", {}), ToolCall("weather", {"city": 3})]
    ran = Functions({"buy": buy, "weather": weather}).carry_out(calls, always)
    assert [one.outcome for one in ran] == [SKIPPED, INVALID]
    assert bought == []


def test_a_call_the_user_declines_does_not_run_and_the_others_do():
    calls = [OSLO, ToolCall("weather", {"city": "Rome"})]
    ran = Functions({"weather": weather}).carry_out(calls, lambda c: c.arguments["city"] == "Rome")
    assert [one.outcome for one in ran] == [DECLINED, RAN]
    assert "did not allow" in json.loads(ran[0].result)["error"]


def raises(error):
    def broken() -> None:
        raise error

    return broken


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no loudspeaker"), "RuntimeError: no loudspeaker"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_an_error_in_a_function_is_a_result_the_model_reads(error, said):
    ran = outcome(raises(error), {})
    assert (ran.outcome, json.loads(ran.result)["error"]) == (FAILED, said)


def test_the_users_ctrl_c_is_not_a_result():
    with pytest.raises(KeyboardInterrupt):
        outcome(raises(KeyboardInterrupt()), {})


class Unit(enum.Enum):
    celsius = "C"


@dataclasses.dataclass
class Sky:
    cover: str
    at: datetime.date


def typed(day: datetime.date, unit: Unit, near: tuple[float, float]) -> Sky:
    assert isinstance(day, datetime.date) and unit is Unit.celsius and isinstance(near, tuple)
    return Sky("grey", day)


def test_arguments_and_results_cross_between_json_and_python_types():
    ran = outcome(typed, {"day": "2026-01-02", "unit": "C", "near": [1, 2]})
    assert (ran.outcome, ran.result) == (RAN, '{"cover": "grey", "at": "2026-01-02"}')


def nothing() -> None:
    return None


def odd():
    return {"x": {1}, "o": object}


async def later(city: str) -> dict:
    return {"city": city}


def endless() -> list:
    made: list = []
    made.append(made)
    return made


def long() -> str:
    return "x" * (MAX_RESULT + 5)


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        (nothing, {}, "null"),
        (later, {"city": "Oslo"}, '{"city": "Oslo"}'),
        (odd, {}, '{"x": [1], "o": "<class \'object\'>"}'),
        (long, {}, f"{'x' * MAX_RESULT} ... (8,005 characters in all)"),
    ],
)
def test_any_result_becomes_text(function, arguments, result):
    assert outcome(function, arguments).result == result


def test_a_result_json_cannot_hold_is_an_error_the_model_reads():
    assert outcome(endless, {}).outcome == FAILED


def test_what_a_function_prints_stays_off_standard_output(capsys):
    def chatty() -> int:
        print("here")
        return 5

    assert outcome(chatty, {}).result == "5"
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "here\n")


def test_a_tool_without_a_function_is_refused():
    with pytest.raises(UsageError, match="no function for the tool fly; known: weather"):
        Functions({"weather": weather}, [Tool("fly", "", {"type": "object"})])


def test_the_functions_of_a_file_are_its_public_ones(tmp_path):
    (tmp_path / "near.py").write_text("def helper():\n    return 'near'\n")
    (tmp_path / "tools.py").write_text(
        "from json import dumps\nimport near\n\n"
        "def one(x: int) -> str:\n    return near.helper() * x\n\n"
        "def _own():\n    pass\n\nclass No:\n    pass\n"
    )
    functions = Functions.from_file(tmp_path / "tools.py")
    assert [tool.name for tool in functions.tools] == ["one"]
    [ran] = functions.carry_out([ToolCall("one", {"x": 2})], always)
    assert ran.result == "nearnear"


def test_all_says_which_functions_are_tools(tmp_path):
    (tmp_path / "listed.py").write_text(
        "__all__ = ['b']\ndef a() -> None: ...\ndef b() -> None: ...\n"
    )
    assert [t.name for t in Functions.from_file(tmp_path / "listed.py").tools] == ["b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "SyntaxError"),
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("x = 1", "no public function"),
        ("class X: ...\ndef f(x: X): ...", "no JSON Schema"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, text, said):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UsageError, match=said):
        Functions.from_file(tmp_path / "bad.py")


def said(*calls, text="", problem=None, finished=True, shortened=False):
    completion = Completion("", (), finished, 0.0, shortened=shortened)
    return Answer(calls, text, problem, completion)


class Scripted:
    """A chat whose answers are known."""

    tools = (tool_from_function(weather),)

    def __init__(self, *answers):
        self.answers, self.told = list(answers), []

    def ask(self, question):
        return self.answer()

    def answer(self):
        return self.answers.pop(0)

    def tell(self, calls, results):
        self.told.append(list(results))


FUNCTIONS = Functions({"weather": weather})


def test_results_go_back_until_the_model_calls_no_more():
    rome = ToolCall("weather", {"city": "Rome"})
    chat = Scripted(said(OSLO), said(rome, OSLO), said(text="rain everywhere"))
    turn = converse(chat, "?", FUNCTIONS, allow=always)
    assert chat.told == [["rain in Oslo for 1"], ["rain in Rome for 1", "rain in Oslo for 1"]]
    assert turn.as_json() == {
        "calls": [
            {
                **call.as_json(),
                "outcome": "ran",
                "result": f"rain in {call.arguments['city']} for 1",
            }
            for call in (OSLO, rome, OSLO)
        ],
        "text": "rain everywhere",
        "problem": None,
    }
    assert turn.called and not turn.limit


def test_rounds_are_limited():
    chat = Scripted(*[said(OSLO)] * 10)
    turn = converse(chat, "?", FUNCTIONS, allow=always, rounds=3)
    # Three answers were carried out; the fourth still called and was not.
    assert (len(turn.ran), len(turn.calls), turn.limit) == (3, 4, True)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (said(OSLO, finished=False), "cut"),
        (said(OSLO, shortened=True), "cut"),
        (said(OSLO, problem="extra_text"), "extra_text"),
    ],
)
def test_a_call_that_is_cut_or_not_clean_never_runs(answer, problem):
    turn = converse(Scripted(answer), "?", FUNCTIONS, allow=pytest.fail)
    assert (turn.ran, turn.problem, turn.called) == ((), problem, False)


def test_without_functions_calls_are_only_said():
    turn = converse(Scripted(said(OSLO)), "?", allow=pytest.fail)
    assert turn.as_json()["calls"] == [OSLO.as_json()]
    assert turn.called


def test_a_call_that_nobody_runs_and_does_not_fit_is_named():
    turn = converse(Scripted(said(ToolCall("weather", {"city": 3}))), "?", allow=pytest.fail)
    [why] = turn.faults
    assert why.startswith("weather: city: 3 is not of type")
    assert turn.as_json()["faults"] == [why]


def test_no_pattern_makes_checking_arguments_slow():
    schema = {"type": "object", "properties": {"city": {"type": "string", "pattern": "^(a+)+$"}}}
    functions = Functions({"weather": weather}, [Tool("weather", "", schema)])
    begun = time.process_time()
    assert functions.fault(ToolCall("weather", {"city": "a" * 400 + "!"}))
    assert time.process_time() - begun < 2
