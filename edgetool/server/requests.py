"""The part of OpenAI's API that edgetool speaks: what requests may hold, and the jobs they mean."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from edgetool.calls.prompt.content_parts import joined_text
from edgetool.calls.prompt.history import with_objects
from edgetool.calls.tools.nulls import without_null_keywords
from edgetool.calls.tools.tools import require_sound
from edgetool.calls.types import JsonObject, Message, Tool
from edgetool.errors import UsageError
from edgetool.llama.protocol import AUTO, NONE, REQUIRED, Job
from edgetool.runtime import Sampling

# A small model that calls tools does best greedy; a client that wants variety says so.
TEMPERATURE = 0.0
# Where a client sets no limit: a small model that has lost its way would fill the whole context.
MAX_TOKENS = 1024
MOST_CHOICES = 8
MOST_TOOLS = 128  # as OpenAI has it
MOST_STOPS = 4  # as OpenAI has it
NO_LIMIT = -1  # llama.cpp's and LM Studio's way to say: as many tokens as there is room for
RANDOM_SEED = -1  # theirs, too


class BadRequest(UsageError):
    """A request that cannot be answered. `param` and `code` as OpenAI's error object has them."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class Strict(BaseModel):
    """Numbers are numbers, not text that looks like one."""

    model_config = ConfigDict(strict=True)


class FunctionSpec(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")
    description: str | None = None
    parameters: JsonObject | None = None

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, parameters: JsonObject | None) -> JsonObject | None:
        if parameters and (parameters.get("type") or "object") != "object":
            raise ValueError("parameters must be a JSON Schema of type 'object'")
        return parameters


class ToolSpec(Strict):
    type: Literal["function"]
    function: FunctionSpec

    def as_tool(self) -> Tool:
        """Raises ToolError for a schema that is none, or is too large."""
        given = without_null_keywords(self.function.parameters or {})
        parameters = {"type": "object", "properties": {}, **given}
        tool = Tool(self.function.name, self.function.description or "", parameters)
        require_sound(tool)
        return tool


class NamedFunction(Strict):
    name: str


class NamedTool(Strict):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(Strict):
    include_usage: bool | None = False


class SchemaSpec(Strict):
    # `schema` is a name pydantic has for itself
    definition: JsonObject = Field(alias="schema")
    name: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """What the answer has to be.

    bare   the schema where llama.cpp's clients put it, beside the type
    """

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaSpec | None = None
    bare: JsonObject | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self._given is None:
            raise ValueError("json_schema: give the schema as {'name': ..., 'schema': {...}}")
        return self

    @property
    def _given(self) -> JsonObject | None:
        wrapped = self.json_schema if self.type == "json_schema" else None
        return self.bare if wrapped is None else wrapped.definition

    def schema_of(self) -> JsonObject | None:
        """The schema the completion has to fit. Raises ToolError for one that is none."""
        if self.type == "text":
            return None
        if self._given is None or (self.type == "json_object" and not self._given):
            return {"type": "object"}
        require_sound(Tool("response_format", "", self._given))
        return self._given


class Extension(Strict):
    """What edgetool has beyond OpenAI.

    constrained   False: decode free, without the grammar of the tools
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    constrained: bool = True


class TemplateSettings(Strict):
    """What may be told to the chat template, by vLLM's and llama-server's name for it.

    enable_thinking   the model thinks before it answers; `thinking` is another name for it
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    enable_thinking: bool | None = None
    thinking: bool | None = None


class CalledFunction(Strict):
    name: str
    arguments: str | JsonObject | None = None


class MadeCall(Strict):
    """A call from an earlier turn."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[JsonObject] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _only_text(cls, content: str | list[JsonObject] | None) -> str | None:
        text: str | None = joined_text(content)
        return text

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"content: a message of role '{self.role}' needs text")
        return self

    def as_message(self) -> Message:
        """As chat templates take it: `developer` is system, a message without text says ""."""
        message = self.model_dump(exclude_none=True)
        message["content"] = self.content or ""
        message["role"] = "system" if self.role == "developer" else self.role
        return message


def _limit(tokens: int | None) -> int | None:
    if tokens is not None and tokens < 1 and tokens != NO_LIMIT:
        raise ValueError(f"give at least 1, or {NO_LIMIT} for as many as there is room for")
    return tokens


Limit = Annotated[int | None, AfterValidator(_limit)]


class WritingRequest(Strict):
    """What the bodies of both endpoints have in common.

    top_k, n_predict   llama.cpp's; n_predict is its name for max_tokens
    """

    model: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stop: str | list[str] | None = None
    max_tokens: Limit = None
    n_predict: Limit = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    edgetool: Extension = Extension()

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> list[str]:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > MOST_STOPS or "" in stops:
            raise ValueError(f"give at most {MOST_STOPS} texts, none of them empty")
        return stops

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def limit(self) -> int | None:
        """Tokens a completion may have, or NO_LIMIT; None where the client says nothing of it."""
        return self.n_predict if self.max_tokens is None else self.max_tokens

    def sampling(self, context: int) -> Sampling:
        """How tokens are chosen. `context`: tokens the model can take in."""
        default = Sampling()
        limit = MAX_TOKENS if self.limit is None else self.limit
        seed = secrets.randbits(62) if self.seed in (None, RANDOM_SEED) else self.seed
        return Sampling(
            max_completion_length=context if limit == NO_LIMIT else limit,
            temperature=TEMPERATURE if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            top_k=default.top_k if self.top_k is None else max(0, self.top_k),
            seed=seed % 2**63,
        )

    def jobs(self, offered: Sequence[Tool], context: int) -> list[Job]:
        """A job for each choice; they differ in their seeds.

        offered   the tools of a request that brings none
        context   tokens the model can take in

        Raises BadRequest, and ToolError for a tool that cannot be offered.
        """
        job = self._job(offered, context)
        seeds = [(job.sampling.seed + i) % 2**63 for i in range(self.n or 1)]
        return [replace(job, sampling=replace(job.sampling, seed=seed)) for seed in seeds]

    def _job(self, offered: Sequence[Tool], context: int) -> Job:
        raise NotImplementedError


class ChatRequest(WritingRequest):
    """The body of POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[ToolSpec] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = True
    response_format: ResponseFormat | None = None
    max_completion_tokens: Limit = None
    chat_template_kwargs: TemplateSettings | None = None

    @property
    def limit(self) -> int | None:
        asked = self.max_completion_tokens
        return super().limit if asked is None else asked

    @property
    def thinking(self) -> bool | None:
        """What the request says of thinking; None: nothing."""
        settings = self.chat_template_kwargs or TemplateSettings()
        return settings.thinking if settings.enable_thinking is None else settings.enable_thinking

    def _job(self, offered: Sequence[Tool], context: int) -> Job:
        if len(self.messages) > context:  # a message takes a token at the very least
            raise BadRequest(
                f"messages: {len(self.messages)} of them cannot fit a context of {context} tokens",
                "messages",
                "context_length_exceeded",
            )
        schema = self.response_format.schema_of() if self.response_format else None
        tools = self._tools(() if schema else offered)
        choice, only = self._choice(tools)
        held = choice != NONE or schema is not None
        if choice == REQUIRED and not self.edgetool.constrained:
            raise BadRequest(
                "tool_choice asks for a call, which only constrained decoding can promise; "
                "leave edgetool.constrained out, or let tool_choice be 'auto'",
                "tool_choice",
            )
        return Job(
            messages=tuple(with_objects([message.as_message() for message in self.messages])),
            tools=tools,
            sampling=self.sampling(context),
            choice=choice,
            only=only,
            parallel=self.parallel_tool_calls is not False,
            constrained=held and self.edgetool.constrained,
            schema=schema if choice != REQUIRED and self.edgetool.constrained else None,
            stop=tuple(self.stop or ()),
            thinking=self.thinking,
        )

    def _tools(self, offered: Sequence[Tool]) -> tuple[Tool, ...]:
        if self.tools is None:
            return tuple(offered)
        tools = tuple(spec.as_tool() for spec in self.tools)
        names = [tool.name for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadRequest(f"tools: two of them are named '{twice}'", "tools")
        return tools

    def _choice(self, tools: Sequence[Tool]) -> tuple[str, str | None]:
        """What the completion may be, and the one tool it may call."""
        choice = self.tool_choice or AUTO
        if isinstance(choice, NamedTool):
            name = choice.function.name
            if name not in [tool.name for tool in tools]:
                raise BadRequest(
                    f"tool_choice names '{name}', which is not among the tools", "tool_choice"
                )
            return REQUIRED, name
        if choice == REQUIRED and not tools:
            raise BadRequest("tool_choice is 'required', but there are no tools", "tool_choice")
        return (choice if tools else NONE), None


class CompletionRequest(WritingRequest):
    """The body of POST /v1/completions: a prompt as it stands, no template, no tools.

    Token ids in and, with their log-probabilities, out are vLLM's. Only the token that was drawn
    has one.
    """

    prompt: str | list[str] | list[Annotated[int, Field(ge=0)]]
    logprobs: Literal[False, 0, 1] | None = None
    return_token_ids: bool | None = False
    return_tokens_as_token_ids: bool | None = False
    stop_token_ids: list[int] | None = None

    @field_validator("prompt")
    @classmethod
    def _one(cls, prompt: str | list[str] | list[int]) -> str | tuple[int, ...]:
        if not prompt:
            raise ValueError("give a prompt that is not empty")
        if isinstance(prompt, str):
            return prompt
        if isinstance(prompt[0], int):
            return tuple(map(int, prompt))
        if len(prompt) != 1 or not prompt[0]:
            raise ValueError("give one prompt that is not empty; several go in several requests")
        return prompt[0]

    @model_validator(mode="after")
    def _ids_for_words(self) -> CompletionRequest:
        if self._with_logprobs and self.stream:
            raise ValueError("logprobs: a stream has none; leave stream out")
        if self._with_logprobs and not self.return_tokens_as_token_ids:
            raise ValueError(
                "logprobs: tokens are named by their ids here; add return_tokens_as_token_ids"
            )
        return self

    @property
    def _with_logprobs(self) -> bool:
        return self.logprobs is not None and self.logprobs is not False

    def _job(self, offered: Sequence[Tool], context: int) -> Job:
        assert isinstance(self.prompt, str | tuple)
        return Job(
            messages=(),
            sampling=self.sampling(context),
            choice=NONE,
            constrained=False,
            stop=tuple(self.stop or ()),
            prompt=self.prompt,
            logprobs=self._with_logprobs or bool(self.return_token_ids),
            stop_ids=tuple(self.stop_token_ids or ()),
        )
