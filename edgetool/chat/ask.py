"""One question, one answer: what `edgetool run model.gguf` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetool.calls.types import Tool, ToolCall
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Completion, Sampling


@dataclass(frozen=True)
class Answer:
    """What the model said.

    calls        the calls it makes; never run here
    text         its prose when it makes no call, "" otherwise
    problem      None, or why the completion is not clean (see `calls.syntaxes.base.PROBLEMS`)
    completion   what it wrote
    """

    calls: tuple[ToolCall, ...]
    text: str
    problem: str | None
    completion: Completion


def ask(
    session: LlamaSession,
    question: str,
    tools: Sequence[Tool],
    *,
    constrained: bool = True,
    sampling: Sampling | None = None,
) -> Answer:
    """Ask a question with tools on offer; greedy unless `sampling` says otherwise.

    Raises PromptTooLong, and EngineError for tools whose schema the grammar engine refuses.
    """
    prompt_ids = session.prompter.ids([{"role": "user", "content": question}], tools)
    constraint = for_llama(session)(tools) if constrained else None
    done = session.generate(prompt_ids, sampling or Sampling(), constraint)
    return read_answer(session, done, tools)


def read_answer(
    session: LlamaSession, completion: Completion, tools: Sequence[Tool] = ()
) -> Answer:
    """The calls and the prose of a completion; `tools` were on offer."""
    parsed = session.syntax.parse(completion.text, tools)
    text = "" if parsed.calls else completion.text
    return Answer(parsed.calls, text, parsed.problem, completion)
