"""What the engine's process is asked, and what it says while it writes: plain values over a pipe.

The process that talks to strangers holds no model: templates, tokenizers, grammars and llama.cpp
run in a child (`worker.py`), which may end at any moment. This module is all that both know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.calls.types import JsonObject, Message, Tool
from edgetool.errors import EdgetoolError, PromptTooLong, UsageError
from edgetool.runtime import Completion, Sampling

if TYPE_CHECKING:
    from edgetool.llama.thinking import ThinkingModes

# What a completion may be, by OpenAI's names.
AUTO = "auto"  # prose, or calls
REQUIRED = "required"  # calls, at least one
NONE = "none"  # prose; the tools are not shown


@dataclass(frozen=True)
class Job:
    """One completion to write.

    messages      the conversation, as chat templates take it
    tools         on offer
    sampling      how tokens are chosen, and how many there may be
    choice        AUTO, REQUIRED or NONE
    only          the one tool that may be called; the others are still shown. None: any
    parallel      several calls are allowed
    constrained   hold calls to the grammar of the tools
    schema        JSON Schema that the whole completion has to fit instead of a call
    stop          texts that end the completion and are not part of it
    prompt        a prompt as text or token ids instead of messages, read without a template
    thinking      the model thinks before it answers; None: as the server does
    logprobs      note what each token was drawn with
    stop_ids      tokens that end the completion beside the model's own
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    choice: str = AUTO
    only: str | None = None
    parallel: bool = True
    constrained: bool = True
    schema: JsonObject | None = None
    stop: tuple[str, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    thinking: bool | None = None
    logprobs: bool = False
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Delta:
    """What was written since the last one: whole characters only.

    tokens   how many tokens that took; of them `forced` had no alternative, `drafted` were guessed
             from the prompt and confirmed
    """

    text: str
    tokens: int
    forced: int = 0
    drafted: int = 0


@dataclass(frozen=True)
class Done:
    """The end of a job, always its last event.

    completion      all that was written
    prompt_tokens   length of the prompt; `cached` of them did not have to be read again
    passes          forward passes of the model after the prompt
    stopped         ended by one of Job.stop
    """

    completion: Completion
    prompt_tokens: int
    cached: int = 0
    passes: int = 0
    stopped: bool = False


Event = Delta | Done


def job_from_json(value: JsonObject) -> Job:
    """The job whose `dataclasses.asdict` this is, read back from JSON."""
    prompt = value["prompt"]
    return Job(
        **{
            **value,
            "prompt": tuple(prompt) if isinstance(prompt, list) else prompt,
            "stop_ids": tuple(value["stop_ids"]),
            "messages": tuple(value["messages"]),
            "tools": tuple(Tool(**tool) for tool in value["tools"]),
            "sampling": Sampling(**value["sampling"]),
            "stop": tuple(value["stop"]),
        }
    )


def done_from_json(value: JsonObject) -> Done:
    """The end whose `dataclasses.asdict` this is, read back from JSON."""
    written = value["completion"]
    logprobs = written["logprobs"]
    completion = Completion(
        **{
            **written,
            "token_ids": tuple(written["token_ids"]),
            "logprobs": None if logprobs is None else tuple(logprobs),
        }
    )
    return Done(**{**value, "completion": completion})


def refused(error: EdgetoolError, *, usage: bool = False) -> dict[str, Any]:
    """An error as the parent is told of it; `usage`: whatever it is, the asker is at fault."""
    too_long = isinstance(error, PromptTooLong)
    theirs = usage or too_long or isinstance(error, UsageError)
    return {"refused": str(error), "usage": theirs, "too_long": too_long}


class Writer(Protocol):
    """Somebody who does jobs: one child process, or another server.

    thinking_modes   the call syntax, with and without a thought before it
    context   tokens a prompt and its completion may have together
    chat_template   what prompts are made with
    trouble   why no job can be taken now, None when one can
    """

    thinking_modes: ThinkingModes
    context: int
    chat_template: ChatTemplate

    @property
    def syntax(self) -> str: ...

    @property
    def trouble(self) -> str | None: ...

    def write(self, job: Job) -> AsyncIterator[Event]:
        """The events of a job. Closing the iterator cancels it.

        Raises UsageError for a job that cannot be done (a schema no grammar can hold, say),
        PromptTooLong, Busy when the queue is full, EngineError when the engine fails on it.
        """
        ...
