"""What goes out: OpenAI's objects for whole answers, and for the chunks of a stream.

Beyond OpenAI there is `usage.edgetool`: how many tokens had no alternative or were guessed and
confirmed, and how many forward passes that left. A choice with a call that does not fit its tool's
schema has `edgetool.invalid_calls`: which one, and why. One whose text does not fit the schema of
`response_format` has `edgetool.invalid_content`: why. In a stream its last chunk has it.
"""

from __future__ import annotations

import secrets
import string
import time
import uuid
from collections.abc import Sequence

from edgetool.calls.json_text import dumps
from edgetool.calls.types import JsonObject, ToolCall
from edgetool.llama.protocol import Delta
from edgetool.server.completions import Choice, Piece
from edgetool.server.tool_call_deltas import CallPart

# Mistral's chat templates take no other id back; to all others any is as good.
_ID_SIGNS, _ID_LENGTH = string.ascii_letters + string.digits, 9


class ChatReply:
    """One answer of /v1/chat/completions: its objects share an id."""

    def __init__(self, model: str) -> None:
        self._head = _head("chatcmpl", model)

    def whole(self, choices: Sequence[Choice]) -> JsonObject:
        shown = [self._choice(choice) for choice in choices]
        head = {**self._head, "object": "chat.completion"}
        return {**head, "choices": shown, "usage": usage(choices)}

    def _choice(self, choice: Choice) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": choice.text or None}
        if choice.calls:
            message["tool_calls"] = [_call(call) for call in choice.calls]
        elif not choice.text:
            message["content"] = ""
        return {
            "index": choice.index,
            "message": message,
            "logprobs": None,
            "finish_reason": choice.reason,
            **_verdict(choice),
        }

    def opening(self, index: int) -> JsonObject:
        """The first chunk of a choice."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, pieces: Sequence[Piece]) -> JsonObject:
        """The chunk that says some words, or parts of calls."""
        words = "".join(one for one in pieces if isinstance(one, str))
        delta: JsonObject = {"content": words} if words else {}
        parts = [_part(one) for one in pieces if isinstance(one, CallPart)]
        if parts:
            delta["tool_calls"] = parts
        return self._chunk(index, delta)

    def closing(self, choice: Choice) -> JsonObject:
        """The last chunk of a choice."""
        chunk = self._chunk(choice.index, {}, choice.reason)
        chunk["choices"][0].update(_verdict(choice))
        return chunk

    def summing_up(self, choices: Sequence[Choice]) -> JsonObject:
        """The chunk behind all others."""
        head = {**self._head, "object": "chat.completion.chunk"}
        return {**head, "choices": [], "usage": usage(choices)}

    def _chunk(self, index: int, delta: JsonObject, reason: str | None = None) -> JsonObject:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


class TextReply:
    """One answer of /v1/completions."""

    def __init__(self, model: str) -> None:
        self._head = {**_head("cmpl", model), "object": "text_completion"}

    def whole(self, choices: Sequence[Choice]) -> JsonObject:
        shown = [
            {**_text(choice.index, choice.text, choice.reason), **_tokens(choice)}
            for choice in choices
        ]
        return {**self._head, "choices": shown, "usage": usage(choices)}

    def opening(self, index: int) -> JsonObject:
        return self._chunk(index, "")

    def piece(self, index: int, pieces: Sequence[Piece]) -> JsonObject:
        return self._chunk(index, "".join(one for one in pieces if isinstance(one, str)))

    def closing(self, choice: Choice) -> JsonObject:
        return self._chunk(choice.index, "", choice.reason)

    def summing_up(self, choices: Sequence[Choice]) -> JsonObject:
        return {**self._head, "choices": [], "usage": usage(choices)}

    def _chunk(self, index: int, text: str, reason: str | None = None) -> JsonObject:
        return {**self._head, "choices": [_text(index, text, reason)]}


Reply = ChatReply | TextReply


def trace(delta: Delta) -> JsonObject:
    """What a chunk says of how it came about."""
    return {"tokens": delta.tokens, "forced": delta.forced, "drafted": delta.drafted}


def usage(choices: Sequence[Choice]) -> JsonObject:
    """Tokens of an answer; its choices share one prompt."""
    ended = [choice.done for choice in choices]
    prompt, cached = ended[0].prompt_tokens, ended[0].cached
    written = sum(len(done.completion.token_ids) for done in ended)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "edgetool": {
            "forced_tokens": sum(done.completion.forced for done in ended),
            "drafted_tokens": sum(choice.drafted for choice in choices),
            "passes": sum(done.passes for done in ended),
            "cached_prompt_tokens": cached,
        },
    }


def _verdict(choice: Choice) -> JsonObject:
    """What is said of a choice beyond OpenAI's words; nothing of most.

    invalid_calls     its calls that do not fit their schemas
    invalid_content   why its text does not fit the schema it was asked for
    shortened         it was brought to an end: max_tokens was near, or it repeated itself
    """
    found = [{"index": index, "reason": reason} for index, reason in choice.faults.items()]
    extra: JsonObject = {"invalid_calls": found} if found else {}
    if choice.misfit is not None:
        extra["invalid_content"] = {"reason": choice.misfit}
    if choice.done.completion.shortened:
        extra["shortened"] = True
    return {"edgetool": extra} if extra else {}


def _call(call: ToolCall) -> JsonObject:
    function = {"name": call.name, "arguments": dumps(call.arguments)}
    return {"id": _new_id(), "type": "function", "function": function}


def _part(part: CallPart) -> JsonObject:
    """Only the first part of a call has its id and name."""
    if not part.name:
        return {"index": part.index, "function": {"arguments": part.text}}
    function = {"name": part.name, "arguments": part.text}
    return {"index": part.index, "id": _new_id(), "type": "function", "function": function}


def _new_id() -> str:
    return "".join(secrets.choice(_ID_SIGNS) for _ in range(_ID_LENGTH))


def _text(index: int, text: str, reason: str | None) -> JsonObject:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _tokens(choice: Choice) -> JsonObject:
    """Token ids and log-probabilities, as vLLM gives them, where they were asked for."""
    written = choice.done.completion
    if written.logprobs is None:
        return {}
    names = [f"token_id:{token}" for token in written.token_ids]
    logprobs = {"tokens": names, "token_logprobs": list(written.logprobs)}
    return {"token_ids": list(written.token_ids), "logprobs": logprobs}


def _head(prefix: str, model: str) -> JsonObject:
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
