"""Any OpenAI-compatible endpoint as a Runtime: it renders, decodes and parses by itself.

What it answers is written down in the Hermes syntax, so that the one judge can read it; prose that
comes along with calls is left out, as a client leaves it out. Only the free arm: how an endpoint
decodes is its own affair.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.history import with_text
from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.runtime import FREE, Completion, Sampling, failed, row_seed

TOGETHER = 4  # requests on their way at a time


class EndpointRuntime:
    """Completions from `model` at `url` (".../v1"); the key is read from OPENAI_API_KEY."""

    arms: tuple[str, ...] = (FREE,)

    def __init__(self, url: str, model: str, *, together: int = TOGETHER) -> None:
        import os

        import openai

        key = os.environ.get("OPENAI_API_KEY") or "none"  # local servers ask for none
        self._client = openai.OpenAI(base_url=url, api_key=key)
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
        import openai

        started = time.perf_counter()
        try:
            answer = self._client.chat.completions.create(**self._request(example, sampling))
        except openai.OpenAIError as error:
            return failed(f"{type(error).__name__}: {error}", time.perf_counter() - started)
        seconds = time.perf_counter() - started
        if not answer.choices:
            return failed("the endpoint answered without a choice", seconds)
        choice, usage = answer.choices[0], answer.usage
        # An endpoint tells how many tokens it wrote, not which.
        ids = (-1,) * (usage.completion_tokens if usage else 0)
        return Completion(_text(choice.message), ids, choice.finish_reason != "length", seconds)

    def _request(self, example: Example, sampling: Sampling) -> dict[str, Any]:
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


def _text(message: Any) -> str:
    """The message as the Hermes syntax writes it, arguments as they were sent, right or not."""
    calls = [call.function for call in message.tool_calls or [] if call.type == "function"]
    if not calls:
        return message.content or ""
    return "\n".join(
        f'<tool_call>\n{{"name": {dumps(call.name)}, "arguments": {call.arguments or "{}"}}}\n'
        "</tool_call>"
        for call in calls
    )
