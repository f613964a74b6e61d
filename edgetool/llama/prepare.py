"""What a completion needs before the model can begin: its prompt's tokens, and its grammar.

A long prompt takes a template and a tokenizer a while, a large schema the grammar engine. A thread
does that, so that the completions on their way go on meanwhile.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgetool.calls.prompt.prompt import Prompter, encode_pieces
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.types import Tool
from edgetool.errors import EdgetoolError, UsageError
from edgetool.grammar.llguidance import ConstraintMaker, for_llama
from edgetool.llama.prompt_limit import Room
from edgetool.llama.protocol import AUTO, NONE, REQUIRED, Job
from edgetool.llama.session import LlamaSession
from edgetool.llama.thinking import Prompters
from edgetool.runtime import Constraint

# Where the server has no tools: its grammar has every part that others have.
_ANY_TOOL = Tool("any", "", {"type": "object", "properties": {"text": {"type": "string"}}})


@dataclass(frozen=True)
class Prepared:
    """A job that may begin, with its prompt [P]; or why it may not, which is the asker's fault."""

    number: int
    prompt: list[int]
    constraint: Constraint | None = None
    error: EdgetoolError | None = None


class Preparer:
    """Prepares jobs one after the other.

    done        is given each as it is ready, by the thread
    prompters   one for each thinking mode
    number      the job that is being prepared, None where there is none
    """

    def __init__(self, session: LlamaSession, done: Callable[[Prepared], None]) -> None:
        self._session, self._done = session, done
        self._asked: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        self._dropped: set[int] = set()
        self.prompters = Prompters(session.prompter)
        self._made: dict[CallSyntax, ConstraintMaker] = {}
        self.number: int | None = None

    def start(self, tools: Sequence[Tool]) -> None:
        """Have ready what the first request would wait for, then begin with what is asked.

        The tokenizer's tables, the grammars of `tools` and the first mask of each take many times
        as long as a later request does. Tools that no grammar holds are refused when asked for.
        """
        for required in (False, True):
            try:
                constraint = self._maker(self._session.syntax)(
                    tools or [_ANY_TOOL], required=required
                )
                constraint.mask(np.zeros(self._session.vocabulary.size, dtype=np.float32))
            except EdgetoolError:
                continue
        threading.Thread(target=self._work, daemon=True).start()

    def add(self, number: int, job: Job) -> None:
        self._asked.put((number, job))

    def drop(self, number: int) -> None:
        """A job that nobody wants any more; what is begun with is ended."""
        self._dropped.add(number)

    def _work(self) -> None:
        try:
            while True:
                self._prepare(*self._asked.get())
                self.number = None
        except Exception:  # noqa: BLE001 - a mistake of ours: nobody must wait for ever
            traceback.print_exc()
            os._exit(1)

    def _prepare(self, number: int, job: Job) -> None:
        self.number = number
        if number in self._dropped:
            self._dropped.discard(number)
            return
        try:
            session, prompter = self._session, self.prompters.of(job)
            prompt = prompt_ids(job, prompter, session.room, session.text_ids)
            if strange := [t for t in prompt if not 0 <= t < session.vocabulary.size]:
                raise UsageError(f"prompt: the model has no token {strange[0]}")
            self._done(Prepared(number, prompt, self._constraint(job, prompter.syntax)))
        except EdgetoolError as error:  # a conversation no prompt can be made of, a hostile schema
            self._done(Prepared(number, [], error=error))

    def _constraint(self, job: Job, syntax: CallSyntax) -> Constraint | None:
        if job.schema is not None:
            tools = job.tools if job.choice == AUTO else ()
            return self._maker(syntax).for_schema(job.schema, tools, parallel=job.parallel)
        if not job.constrained or job.prompt is not None or job.choice == NONE:
            return None
        offered = [tool for tool in job.tools if job.only in (None, tool.name)]
        required = job.choice == REQUIRED or job.only is not None
        return self._maker(syntax)(offered, required=required, parallel=job.parallel)

    def _maker(self, syntax: CallSyntax) -> ConstraintMaker:
        if not self._made:
            self._made[self._session.syntax] = for_llama(self._session)
        if syntax not in self._made:
            self._made[syntax] = self._made[self._session.syntax].for_syntax(syntax)
        return self._made[syntax]


def prompt_ids(
    job: Job, prompter: Prompter, room: Room, text_ids: Callable[[str], list[int]]
) -> list[int]:
    """Token ids [P] of a job's prompt. Text that cannot fit is not tokenized.

    text_ids   tokenizes a prompt that is text alone

    Raises PromptTooLong, ModelError.
    """
    if isinstance(job.prompt, tuple):
        return list(job.prompt)
    if job.prompt is not None:
        room.require_possible([job.prompt])
        return text_ids(job.prompt)
    pieces = prompter.pieces(job.messages, () if job.choice == NONE else job.tools)
    room.require_possible(pieces)
    return encode_pieces(pieces, prompter.encode)
