"""A Writer that says what it is told to: the front without a model behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.llama.protocol import Delta, Done, Event, Job
from edgetool.llama.thinking import ThinkingModes
from edgetool.runtime import Completion

Step = str | Delta | Exception | float
Script = Callable[[Job], Sequence[Step]]


def hello(job: Job) -> Sequence[Step]:
    return ["Hel", "lo"]


class ScriptedWriter:
    """Plays a script: pieces of text, errors to raise, seconds to wait.

    jobs        those it was given
    cancelled   how many were closed before their end
    """

    thinking_modes, syntax, context = ThinkingModes.named("hermes"), "hermes", 512
    chat_template = ChatTemplate("")
    trouble: str | None = None

    def __init__(self, script: Script = hello, *, finished: bool = True) -> None:
        self._script, self._finished = script, finished
        self.jobs: list[Job] = []
        self.cancelled = 0

    async def write(self, job: Job) -> AsyncGenerator[Event, None]:
        self.jobs.append(job)
        said, whole = "", False
        try:
            for step in self._script(job):
                if isinstance(step, Exception):
                    whole = True
                    raise step
                # a real engine lets others have a turn before each word
                await asyncio.sleep(step if isinstance(step, float) else 0)
                if isinstance(step, str):
                    step = Delta(step, tokens=1, forced=1, drafted=0)
                if isinstance(step, Delta):
                    said += step.text
                    yield step
            whole = True
            ids = tuple(range(len(said.split())))
            completion = Completion(said, ids, self._finished, 0.1, first_seconds=0.01, forced=1)
            yield Done(completion, prompt_tokens=7, cached=4, passes=2)
        finally:
            self.cancelled += not whole
