"""Choices being written: jobs go to the engine, what it says comes back as words and calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.stream import CallStream
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.tools.validation import answer_fault, fault
from edgetool.calls.types import ToolCall
from edgetool.errors import EngineError
from edgetool.llama.protocol import NONE, Delta, Done, Event, Job, Writer
from edgetool.server.tool_call_deltas import CallPart, PartStream

LENGTH, CALLS, STOP = "length", "tool_calls", "stop"

Result = TypeVar("Result")
Piece = str | CallPart
# Called at each step: the choice's number, what became certain, and what was written.
OnDelta = Callable[[int, Sequence[Piece], Delta | None], Awaitable[None]]


@dataclass(frozen=True)
class Choice:
    """One completion, as a client sees it.

    text     its words, "" when it only makes calls
    calls    the calls it makes; never run here
    reason   OpenAI's finish_reason: LENGTH, CALLS or STOP
    done     what the engine says of it; `drafted` of its tokens were guessed and confirmed
    faults   why a call does not fit its tool's schema, by its place among the calls. A grammar
             leaves some keywords open (see calls.schema.tree), and without one any may fail
    misfit   why the text is not of the schema it was asked for, likewise
    """

    index: int
    text: str
    calls: tuple[ToolCall, ...]
    reason: str
    done: Done
    drafted: int = 0
    faults: Mapping[int, str] = field(default_factory=dict)
    misfit: str | None = None


class Reading:
    """The words and calls of one completion while it is being written."""

    def __init__(self, job: Job, syntax: CallSyntax) -> None:
        # Where no call may be made, what looks like one is text.
        may_call = bool(job.tools) and job.choice != NONE
        self._stream = CallStream(syntax, job.tools) if may_call else None
        # What begins like a call may come to nothing without a grammar, or be the JSON that was
        # asked for: it is told once whole.
        self._parts = PartStream() if job.constrained and job.schema is None else None
        self._parallel = job.parallel
        self._fed = 0
        self.words: list[str] = []
        self.calls: list[ToolCall] = []

    def feed(self, text: str) -> list[Piece]:
        """What is certain now that `text` was written."""
        self._fed += len(text)
        if self._stream is None:
            return self._note([text], [])
        opened = self._stream.opened
        events = self._stream.feed(text)
        parts: list[CallPart] = []
        if self._parts is not None and self._stream.opened >= 0:
            new = text if opened >= 0 else self._stream.text[self._stream.opened :]
            parts = self._parts.feed(new)
        return self._note(events, parts)

    def finish(self, done: Done) -> list[Piece]:
        """What only the end made certain."""
        pieces = self.feed(done.completion.text[self._fed :])
        if self._stream is not None:
            self._stream.finish(finished=done.completion.finished)
            # Half a call that the grammar began is no prose, and what can be told of it was told.
            half = self._parts is not None and self._stream.opened >= 0
            rest = [e for e in self._stream.rest if not (half and isinstance(e, str))]
            pieces += self._note(rest, [])
        return pieces

    def _note(self, events: Sequence[str | ToolCall], parts: Sequence[CallPart]) -> list[Piece]:
        """Keep what was said and give out what is new: words, then calls."""
        words = [event for event in events if isinstance(event, str) and event]
        self.words += words
        started = self._parts.started if self._parts is not None else 0
        whole: list[CallPart] = []
        for call in (event for event in events if isinstance(event, ToolCall)):
            if len(self.calls) >= started:  # no part of it was given out
                whole.append(CallPart(len(self.calls), call.name, dumps(call.arguments)))
            self.calls.append(call)
        if self._parallel:
            return [*words, *parts, *whole]
        del self.calls[1:]
        return [*words, *(part for part in (*parts, *whole) if part.index == 0)]


async def write_choices(
    writer: Writer, jobs: Sequence[Job], on_delta: OnDelta | None = None
) -> list[Choice]:
    """Do the jobs side by side. The first that fails ends the others and is raised.

    Raises what `Writer.write` raises.
    """
    return await together([_write(writer, job, index, on_delta) for index, job in enumerate(jobs)])


async def _write(writer: Writer, job: Job, index: int, on_delta: OnDelta | None) -> Choice:
    reading = Reading(job, writer.thinking_modes.of(job))
    events = cast("AsyncGenerator[Event, None]", writer.write(job))
    drafted = 0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                break
            drafted += event.drafted
            pieces = reading.feed(event.text)
            if on_delta is not None:
                await on_delta(index, pieces, event)
        else:
            raise EngineError(
                "the engine stopped before the end of the completion; send the request again"
            )
    if event.completion.error is not None:
        raise EngineError(event.completion.error)
    rest = reading.finish(event)
    if rest and on_delta is not None:
        await on_delta(index, rest, None)
    reason = finish_reason(event, called=bool(reading.calls), valued=job.schema is not None)
    calls, words = tuple(reading.calls), "".join(reading.words)
    found = {i: why for i, call in enumerate(calls) if (why := fault(call, job.tools)) is not None}
    asked = None if calls or reason == LENGTH else job.schema  # half a value says so itself
    misfit = None if asked is None else answer_fault(words, asked)
    return Choice(index, words, calls, reason, event, drafted, found, misfit)


def finish_reason(done: Done, *, called: bool, valued: bool = False) -> str:
    """OpenAI's word for why a completion ended.

    called   it makes calls
    valued   it had to be a value of a schema

    Calls and values that were brought to an end in time are whole, and clients read them as such;
    words that were ended so are cut.
    """
    completion = done.completion
    cut = not completion.finished or (completion.shortened and not (called or valued))
    if cut and not done.stopped:
        return LENGTH
    return CALLS if called else STOP


async def together(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Results in order; what fails first is raised, and none is left running."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _end(tasks)


async def unless(gone: Coroutine[Any, Any, Exception], work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; where `gone` ends first, work is cancelled and its result raised."""
    leaving, working = asyncio.ensure_future(gone), asyncio.ensure_future(work)
    try:
        await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise leaving.result()
    finally:
        await _end([leaving, working])


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
