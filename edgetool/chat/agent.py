"""Calls carried out by the user's own Python functions.

Nothing runs before every call of an answer was found to fit its tool's schema, and nothing that
nobody allowed. Whatever goes wrong is a result the model reads: it may do better in the next round.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.syntaxes.base import CUT
from edgetool.calls.tools.python_tools import functions_of_file, tool_from_function
from edgetool.calls.tools.validation import fault
from edgetool.calls.types import JsonObject, Tool, ToolCall
from edgetool.chat.chat import Answer, Chat
from edgetool.errors import UsageError

# Rounds of calls before somebody should look at what is going on.
ROUNDS = 8
# A longer result would leave a small model's context no room for an answer.
MAX_RESULT = 8_000

# What became of a call.
RAN = "ran"
FAILED = "failed"  # its function raised
INVALID = "invalid"  # it does not fit the tool's schema
DECLINED = "declined"  # the user said no
SKIPPED = "skipped"  # another call of the same answer is invalid

Allow = Callable[[ToolCall], bool]


@dataclass(frozen=True)
class Ran:
    """A call and what became of it. result: what the model is told."""

    call: ToolCall
    outcome: str
    result: str

    def as_json(self) -> JsonObject:
        return {**self.call.as_json(), "outcome": self.outcome, "result": self.result}


@dataclass(frozen=True)
class Turn:
    """All that came of one question.

    answer   the last one of the model
    calls    the calls of all its answers
    ran      what became of them; empty where nobody carries them out
    limit    the model still wanted to call when its rounds were over
    faults   why calls that nobody carries out do not fit their tools' schemas
    """

    answer: Answer
    calls: tuple[ToolCall, ...]
    ran: tuple[Ran, ...] = ()
    limit: bool = False
    faults: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """Why the last answer is not clean, None where it is. Its calls did not run then."""
        return _problem(self.answer)

    @property
    def called(self) -> bool:
        """Whether a call was made, and the last answer is clean."""
        return bool(self.calls) and self.problem is None

    def as_json(self) -> JsonObject:
        done: list[JsonObject] = [one.as_json() for one in self.ran]
        calls = done + [call.as_json() for call in self.calls[len(done) :]]
        values = {"calls": calls, "text": self.answer.text, "problem": self.problem}
        return {**values, "faults": list(self.faults)} if self.faults else values


class Functions:
    """The functions that stand behind tools.

    Raises UsageError for a tool without a function.
    """

    def __init__(
        self, functions: Mapping[str, Callable[..., Any]], tools: Sequence[Tool] | None = None
    ) -> None:
        if tools is None:
            tools = [tool_from_function(function) for function in functions.values()]
        self.tools, self._functions = tuple(tools), dict(functions)
        missing = [tool.name for tool in self.tools if tool.name not in functions]
        if missing:
            raise UsageError(
                f"no function for the tool {missing[0]}; known: {', '.join(sorted(functions))}"
            )

    @classmethod
    def from_file(cls, path: Path, tools: Sequence[Tool] | None = None) -> Functions:
        """Those of a Python file, which is run; `tools` says more of them than their docstrings."""
        return cls(functions_of_file(path), tools)

    def carry_out(self, calls: Sequence[ToolCall], allow: Allow) -> list[Ran]:
        """What became of the calls of one answer. Each is asked for when its turn has come."""
        faults = [self.fault(call) for call in calls]
        if any(faults):
            return [_unfit(call, fault) for call, fault in zip(calls, faults, strict=True)]
        return [self._one(call, allow) for call in calls]

    def fault(self, call: ToolCall) -> str | None:
        """Why a call may not run: its tool is unknown, or its arguments do not fit."""
        return fault(call, self.tools)

    def _one(self, call: ToolCall, allow: Allow) -> Ran:
        if not allow(call):
            return Ran(call, DECLINED, _error("the user did not allow this call"))
        try:
            result = _text(_run(self._functions[call.name], call.arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            return Ran(call, FAILED, _cut(_error(f"{type(error).__name__}: {error}")))
        return Ran(call, RAN, _cut(result))


def converse(
    chat: Chat,
    question: str,
    functions: Functions | None = None,
    *,
    allow: Allow,
    rounds: int = ROUNDS,
    tell: Callable[[Iterable[Ran]], None] = lambda _: None,
) -> Turn:
    """Ask, carry out the calls, tell the model what came of them, until it calls no more.

    functions   None: the first answer is the last one
    allow       is asked before each call runs
    rounds      of calls, at the most
    tell        is given what became of the calls of each round

    A call that was cut short, or is not clean, ends it. Raises as Chat.answer does.
    """
    calls: list[ToolCall] = []
    ran: list[Ran] = []
    answer = chat.ask(question)
    for _ in range(rounds):
        calls += answer.calls
        if functions is None or not answer.calls or _problem(answer):
            return Turn(answer, tuple(calls), tuple(ran), faults=_faults(chat, answer.calls))
        done = functions.carry_out(answer.calls, allow)
        ran += done
        tell(done)
        chat.tell(answer.calls, [one.result for one in done])
        answer = chat.answer()
    calls += answer.calls
    return Turn(answer, tuple(calls), tuple(ran), limit=bool(answer.calls))


def _faults(chat: Chat, calls: Sequence[ToolCall]) -> tuple[str, ...]:
    found = ((call.name, fault(call, chat.tools)) for call in calls)
    return tuple(f"{name}: {why}" for name, why in found if why is not None)


def _problem(answer: Answer) -> str | None:
    """A grammar can bring a call that is cut to a valid end, but not to the one that was meant."""
    completion = answer.completion
    cut = completion.shortened or not completion.finished
    return answer.problem or (CUT if cut else None)


def _unfit(call: ToolCall, fault: str | None) -> Ran:
    if fault:
        return Ran(call, INVALID, _cut(_error(fault)))
    return Ran(call, SKIPPED, _error("not run, because another call was invalid"))


def _run(function: Callable[..., Any], arguments: JsonObject) -> Any:
    """The function's result, its arguments made what its annotations say.

    What it prints goes where messages go: standard output is for the calls.
    """
    from pydantic import validate_call

    with contextlib.redirect_stdout(sys.stderr):
        result = validate_call(function)(**arguments)
        if inspect.isawaitable(result):
            return asyncio.run(_awaited(result))
        return result


async def _awaited(result: Any) -> Any:
    return await result


def _text(result: Any) -> str:
    """A result as a model reads it: text as it is, anything else as JSON."""
    from pydantic_core import to_jsonable_python

    return result if isinstance(result, str) else dumps(to_jsonable_python(result, fallback=str))


def _error(message: str) -> str:
    return dumps({"error": message})


def _cut(text: str) -> str:
    if len(text) <= MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]} ... ({len(text):,} characters in all)"
