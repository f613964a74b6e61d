"""A conversation with a GGUF file: each answer reads all that was said before.

chat = Chat(session, tools)
answer = chat.ask("weather in Oslo?")
chat.tell(answer.calls, ["rain"])       # what the user's own code found
answer = chat.answer()
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetool.calls.prompt.stream import CallStream
from edgetool.calls.types import Message, Tool, ToolCall
from edgetool.grammar.llguidance import for_llama
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Completion, Sampling

OnText = Callable[[str], None]


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


class Chat:
    """Messages so far, and the model that answers them.

    on_text   is given the prose of an answer while it is written, and nothing of its calls
    """

    def __init__(
        self,
        session: LlamaSession,
        tools: Sequence[Tool],
        *,
        system: str | None = None,
        constrained: bool = True,
        sampling: Sampling | None = None,
        on_text: OnText | None = None,
    ) -> None:
        self.session, self.tools = session, tuple(tools)
        self.sampling, self._on_text = sampling or Sampling(), on_text
        self.messages: list[Message] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})
        self._constraint = for_llama(session) if constrained else None

    def ask(self, question: str) -> Answer:
        """The answer to a question. Raises as `answer` does."""
        self.messages.append({"role": "user", "content": question})
        return self.answer()

    def answer(self) -> Answer:
        """The model's next message, which joins the conversation.

        Raises PromptTooLong, and EngineError for tools whose schema the grammar engine refuses.
        """
        answer = self._read(self._complete())
        message: Message = {"role": "assistant", "content": answer.text}
        if answer.calls:
            message["tool_calls"] = [
                {"id": self._id(place), "type": "function", "function": call.as_json()}
                for place, call in enumerate(answer.calls)
            ]
        self.messages.append(message)
        return answer

    def _read(self, completion: Completion) -> Answer:
        parsed = self.session.syntax.parse(completion.text, self.tools)
        text = "" if parsed.calls else completion.text
        return Answer(parsed.calls, text, parsed.problem, completion)

    def tell(self, calls: Sequence[ToolCall], results: Sequence[str]) -> None:
        """Give the results of the last answer's calls, in their order."""
        made = self.messages[-1].get("tool_calls", ())
        for one, call, result in zip(made, calls, results, strict=True):
            self.messages.append(
                {"role": "tool", "tool_call_id": one["id"], "name": call.name, "content": result}
            )

    def _id(self, place: int) -> str:
        """Nine letters and digits, as Mistral's templates want it, and unique in a conversation."""
        return f"c{len(self.messages):05d}{place:03d}"

    def _complete(self) -> Completion:
        prompt_ids = self.session.prompter.ids(self.messages, self.tools)
        constraint = self._constraint(self.tools) if self._constraint else None
        skip_forced = self.sampling.temperature == 0
        if self._on_text is None:
            return self.session.generate(
                prompt_ids, self.sampling, constraint, skip_forced=skip_forced
            )
        stream = CallStream(self.session.syntax, self.tools)
        # A character may be split between tokens.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def on_token(piece: bytes) -> None:
            self._show(stream.feed(decoder.decode(piece)))

        done = self.session.generate(
            prompt_ids, self.sampling, constraint, on_token, skip_forced=skip_forced
        )
        stream.finish(finished=done.finished)
        self._show(stream.rest)
        return done

    def _show(self, events: Sequence[str | ToolCall]) -> None:
        for event in events:
            if isinstance(event, str) and self._on_text is not None:
                self._on_text(event)
