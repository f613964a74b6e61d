"""The part of OpenAI's chat completions API that edgetool speaks: requests in, objects out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from edgetool.calls.formats.base import INVALID, dumps, loads
from edgetool.calls.runtime import Sampling
from edgetool.calls.types import JsonObject, Message, Tool, ToolCall
from edgetool.serve.ask import Answer

# A small model that calls tools does best greedy; a client that wants variety says so.
TEMPERATURE = 0.0


class FunctionSpec(BaseModel):
    name: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")
    description: str | None = None
    parameters: JsonObject | None = None

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, parameters: JsonObject | None) -> JsonObject | None:
        if parameters and parameters.get("type", "object") != "object":
            raise ValueError("parameters must be a JSON Schema of type 'object'")
        return parameters


class ToolSpec(BaseModel):
    type: Literal["function"]
    function: FunctionSpec

    def as_tool(self) -> Tool:
        parameters = {"type": "object", "properties": {}, **(self.function.parameters or {})}
        return Tool(self.function.name, self.function.description or "", parameters)


class NamedFunction(BaseModel):
    name: str


class NamedTool(BaseModel):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(BaseModel):
    include_usage: bool = False


class CalledFunction(BaseModel):
    name: str
    arguments: str | JsonObject = "{}"


class MadeCall(BaseModel):
    """A call from an earlier turn."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction

    def as_call(self) -> JsonObject:
        """As chat templates take it, arguments as an object."""
        call: JsonObject = self.model_dump(exclude_none=True)
        if isinstance(self.function.arguments, str):
            arguments = loads(self.function.arguments)
            if arguments is not INVALID:  # else the client could not read it either: as it was
                call["function"]["arguments"] = arguments
        return call


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[JsonObject] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _only_text(cls, content: str | list[JsonObject] | None) -> str | None:
        if not isinstance(content, list):
            return content
        if not all(isinstance(part.get("text"), str) for part in content):
            raise ValueError("only text parts can be read")
        return "".join(part["text"] for part in content)

    def as_message(self) -> Message:
        """As chat templates take it: `developer` is system, arguments are an object."""
        message = self.model_dump(exclude_none=True)
        message["content"] = self.content or ""
        message["role"] = "system" if self.role == "developer" else self.role
        if self.tool_calls:
            message["tool_calls"] = [call.as_call() for call in self.tool_calls]
        return message


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions; names it does not know are ignored."""

    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[ToolSpec] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool = "auto"
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0)
    n: Literal[1] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    def sampling(self) -> Sampling:
        default = Sampling()
        limit = self.max_completion_tokens or self.max_tokens or default.max_completion_length
        return Sampling(
            max_completion_length=limit,
            temperature=TEMPERATURE if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            seed=default.seed if self.seed is None else self.seed,
        )

    def choose(self, default: Sequence[Tool]) -> tuple[list[Tool], bool]:
        """The tools the model may call and whether it must. Raises ValueError when there are none.

        default   the tools of a request that brings none
        """
        tools = list(default) if self.tools is None else [spec.as_tool() for spec in self.tools]
        if len({tool.name for tool in tools}) < len(tools):
            raise ValueError("two tools share a name")
        if isinstance(self.tool_choice, NamedTool):
            wanted = self.tool_choice.function.name
            tools = [tool for tool in tools if tool.name == wanted]
            if not tools:
                raise ValueError(f"tool_choice names '{wanted}', which is not among the tools")
            return tools, True
        if self.tool_choice == "required" and not tools:
            raise ValueError("tool_choice is 'required', but there are no tools")
        return ([], False) if self.tool_choice == "none" else (tools, self.tool_choice != "auto")


def completion_object(answer: Answer, model: str, prompt_tokens: int) -> JsonObject:
    """The answer as a `chat.completion`."""
    message: JsonObject = {"role": "assistant", "content": answer.text or None}
    if answer.calls:
        message["tool_calls"] = [_call_object(call) for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
    head = _head("chat.completion", model)
    return {**head, "choices": [choice], "usage": _usage(answer, prompt_tokens)}


def completion_chunks(
    answer: Answer, model: str, prompt_tokens: int, include_usage: bool
) -> Iterator[JsonObject]:
    """The answer as `chat.completion.chunk` objects."""
    head = _head("chat.completion.chunk", model)

    def chunk(delta: JsonObject, reason: str | None = None) -> JsonObject:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": None if answer.calls else ""})
    if answer.text:
        yield chunk({"content": answer.text})
    for index, call in enumerate(answer.calls):
        yield chunk({"tool_calls": [{"index": index, **_call_object(call)}]})
    yield chunk({}, _reason(answer))
    if include_usage:
        yield {**head, "choices": [], "usage": _usage(answer, prompt_tokens)}


def error_object(message: str, kind: str = "invalid_request_error") -> JsonObject:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _call_object(call: ToolCall) -> JsonObject:
    function = {"name": call.name, "arguments": dumps(call.arguments)}
    return {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _reason(answer: Answer) -> str:
    if answer.completion.shortened or not answer.completion.finished:
        return "length"
    return "tool_calls" if answer.calls else "stop"


def _usage(answer: Answer, prompt_tokens: int) -> JsonObject:
    written = len(answer.completion.token_ids)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
    }


def _head(kind: str, model: str) -> JsonObject:
    ident = f"chatcmpl-{uuid.uuid4().hex}"
    return {"id": ident, "object": kind, "created": int(time.time()), "model": model}
