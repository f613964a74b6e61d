"""A llama-server of our own: how it is started, what it is asked, what it says.

It listens on a loopback port that the system chose, with a key nobody else has; its own page, chat
templates and tools are not used. Prompts go to it as token ids and grammars in GBNF, so that what a
client sends is read by the same code whichever engine writes the completion.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import INVALID, loads
from edgetool.calls.syntaxes import CallSyntax
from edgetool.calls.syntaxes.rules import answering, one_call
from edgetool.calls.tools.tools import ToolError, require_sound
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EngineError, UsageError
from edgetool.grammar.gbnf import to_gbnf
from edgetool.llama.protocol import AUTO, NONE, REQUIRED, Delta, Done, Job
from edgetool.runtime import Completion, Sampling

BINARY, BINARY_KEY = "llama-server", "EDGETOOL_LLAMA_SERVER"
_SEEDS = 2**32 - 1  # the last one of 32 bits means a random seed to it
_DATA = "data:"
# In place of the id of a token that ends inside a character: it counts those and tells them not.
UNTOLD = -1


def find_binary() -> Path:
    """The llama-server to use. Raises UsageError where there is none."""
    named = os.environ.get(BINARY_KEY)
    found = shutil.which(named or BINARY)
    if found is None:
        where = f"{BINARY_KEY}={named} is no program" if named else f"no `{BINARY}` is on PATH"
        raise UsageError(
            f"--engine {BINARY}: {where}; install llama.cpp (`brew install llama.cpp`, or build "
            f"its target {BINARY}), name the file with {BINARY_KEY}=FILE, or leave --engine out"
        )
    return Path(found)


def command(
    binary: Path,
    model: Path,
    *,
    port: int,
    context: int,
    sequences: int,
    threads: int,
    adapter: str | None = None,
) -> list[str]:
    """What to run. `context` is one sequence's; how many layers go to a GPU is its own choice."""
    return [
        *(str(binary), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--ctx-size", str(context * sequences), "--parallel", str(sequences)),
        *("--threads", str(threads), "--no-webui", "--no-slots"),
        *(("--lora", adapter) if adapter else ()),
        *("--chat-template", "chatml"),  # the file's own is a stranger's, and ours renders it
    ]


def environment(key: str) -> dict[str, str]:
    """Its variables: a key that no list of processes shows, and no settings of the user's."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("LLAMA_")}
    # By default it keeps up to 8 GiB of old prompts in memory, and logs every request.
    ours = {"LLAMA_ARG_CACHE_RAM": "0", "LLAMA_ARG_LOG_VERBOSITY": "2"}
    return {**kept, **ours, "LLAMA_API_KEY": key}


def request(
    prompt: Sequence[int],
    budget: int,
    sampling: Sampling,
    grammar: str | None,
    job: Job,
    spoken: Sequence[str] = (),
) -> JsonObject:
    """The body of its /completion for a prompt [P]; `budget` tokens may be written.

    spoken   control tokens that have a text in the completion
    """
    asked: JsonObject = {
        "prompt": list(prompt),
        "n_predict": budget,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "samplers": ["top_k", "temperature", "top_p"],  # in our order, and no others
        "seed": sampling.seed % _SEEDS,
        "stop": list(job.stop),
        "cache_prompt": True,
        "return_tokens": True,
        "preserved_tokens": list(spoken),
        "stream": True,
    }
    return asked if grammar is None else {**asked, "grammar": grammar}


def grammar_of(job: Job, syntax: CallSyntax) -> str | None:
    """What a job's completion is held to, in GBNF; None where anything may be written.

    Raises UsageError for what GBNF cannot hold: an answer that is free without saying so would
    break what tool_choice promises.
    """
    try:
        lark = _lark(job, syntax)
        return None if lark is None else to_gbnf(lark)
    except (EngineError, ToolError) as error:
        raise UsageError(
            f"llama-server cannot hold a completion to this: {error}; simplify the schema, or set "
            "tool_choice to 'none'"
        ) from error


def _lark(job: Job, syntax: CallSyntax) -> str | None:
    if job.schema is not None:
        tools = job.tools if job.choice == AUTO else ()
        return answering(job.schema, _calls(job, syntax, tools) if tools else "")
    if not job.constrained or job.prompt is not None or job.choice == NONE:
        return None
    return _calls(job, syntax, [tool for tool in job.tools if job.only in (None, tool.name)])


def _calls(job: Job, syntax: CallSyntax, tools: Sequence[Tool]) -> str:
    for tool in tools:
        require_sound(tool)
    required = job.schema is None and (job.choice == REQUIRED or job.only is not None)
    lark = syntax.grammar(tools, required=required)
    return lark if job.parallel else one_call(lark)


class Hearing:
    """Its stream of one completion, line by line, as events of ours.

    done   the end, once it came
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._told = 0  # how many of them a Delta counted
        self._first: float | None = None
        self.done: Done | None = None

    def feed(self, line: str, seconds: float) -> Delta | None:
        """What a line says; `seconds` have passed since it was asked.

        Raises EngineError where it says that it failed, or makes no sense.
        """
        if not line.startswith(_DATA):  # a comment that keeps the connection open
            return None
        event = loads(line.removeprefix(_DATA))
        if event is INVALID or not isinstance(event, dict):
            raise EngineError(f"llama-server said what is no JSON object: {line[:100]}")
        if "error" in event:
            raise EngineError(f"llama-server: {complaint(event)}")
        self._count(event)
        text = str(event.get("content") or "")
        if self._tokens and self._first is None:
            self._first = seconds
        self._text.append(text)
        if event.get("stop"):
            self.done = self._end(event, seconds)
        if not text:
            return None
        new, self._told = len(self._tokens) - self._told, len(self._tokens)
        return Delta(text, new)

    def _count(self, event: Mapping[str, Any]) -> None:
        tokens = event.get("tokens") or []
        untold = int(event.get("tokens_predicted") or 0) - len(self._tokens) - len(tokens)
        self._tokens += [UNTOLD] * max(0, untold) + tokens

    def _end(self, event: Mapping[str, Any], seconds: float) -> Done:
        why = event.get("stop_type")
        timings = event.get("timings") or {}
        completion = Completion(
            text="".join(self._text),
            token_ids=tuple(self._tokens),
            finished=why == "eos",
            seconds=seconds,
            first_seconds=self._first,
            passes=event.get("tokens_predicted"),
        )
        return Done(
            completion,
            prompt_tokens=int(event.get("tokens_evaluated") or 0),
            cached=int(timings.get("cache_n") or 0),
            passes=completion.passes or 0,
            stopped=why == "word",
        )


def complaint(said: object) -> str:
    """The message of its error object."""
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message", error)) if isinstance(error, dict) else str(error or said)
