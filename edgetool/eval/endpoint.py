"""Any OpenAI-compatible endpoint as a Runtime: it renders, decodes and parses by itself.

What it answers is written down in the Hermes syntax, so that the one judge can read it; prose that
comes along with calls is left out, as a client leaves it out. Only the free arm: how an endpoint
decodes is its own affair.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from edgetool import openai_client
from edgetool.calls import syntaxes
from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.history import with_text
from edgetool.calls.types import Example, JsonObject
from edgetool.errors import EngineError, UsageError
from edgetool.runtime import FREE, Completion, Sampling, failed, row_seed

TOGETHER = 4  # requests on their way at a time


class EndpointRuntime:
    """Completions from `model` at `url` (".../v1"); the key is read from OPENAI_API_KEY."""

    arms: tuple[str, ...] = (FREE,)

    def __init__(self, url: str, model: str, *, together: int = TOGETHER) -> None:
        self._client = openai_client.connect(url, openai_client.environment_key())
        self._model, self._together = model, together
        self.name, self.fingerprint = "endpoint", f"{url} {model}"
        self.syntax = syntaxes.get("hermes")

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        """One completion per example, as they come; a refused request costs its row.

        Raises UsageError for any other arm than free.
        """
        if arm not in self.arms:
            raise UsageError(f"an endpoint offers the arm free only, not '{arm}'")
        with ThreadPoolExecutor(self._together) as pool:
            asked = {pool.submit(self._ask, e, sampling): i for i, e in enumerate(examples)}
            try:
                for done in as_completed(asked):
                    yield asked[done], done.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, example: Example, sampling: Sampling) -> Completion:
        started = time.perf_counter()
        try:
            with openai_client.asking():
                request = self._request(example, sampling)
                choice, answer = openai_client.chat(self._client, request)
            text, written = _text(choice["message"]), _tokens(answer)
        except EngineError as error:
            return failed(str(error), time.perf_counter() - started)
        finished = choice.get("finish_reason") != "length"
        # An endpoint tells how many tokens it wrote, not which.
        return Completion(text, (-1,) * written, finished, time.perf_counter() - started)

    def _request(self, example: Example, sampling: Sampling) -> JsonObject:
        request = {
            "model": self._model,
            "messages": with_text(example.messages),
            "max_tokens": sampling.max_completion_length,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": row_seed(sampling.seed, example.id) >> 32,  # some servers take 31 bits
        }
        tools = [tool.as_openai() for tool in example.tools]
        return {**request, "tools": tools} if tools else request


def _text(message: JsonObject) -> str:
    """The message as the Hermes syntax writes it, arguments as they were sent, right or not.

    Raises EngineError for calls that are not of OpenAI's form.
    """
    try:
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        made = [(dumps(call["name"]), call.get("arguments") or "{}") for call in calls]
    except (LookupError, TypeError, AttributeError) as error:
        raise EngineError(f"the endpoint's tool_calls cannot be read ({error!r})") from error
    if not made:
        return str(message.get("content") or "")
    return "\n".join(
        f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in made
    )


def _tokens(answer: JsonObject) -> int:
    """How many tokens an answer says it has; 0 where it does not say."""
    usage = answer.get("usage")
    written = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return written if isinstance(written, int) else 0
