"""One question, one answer: a chat of one turn."""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.types import Tool
from edgetool.chat.chat import Answer, Chat
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Sampling


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
    chat = Chat(session, tools, constrained=constrained, sampling=sampling)
    return chat.ask(question)
