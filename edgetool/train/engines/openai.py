"""Rollouts by servers: anything that returns token ids and their log-probabilities, such as vLLM.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve BASE --enable-lora --max-lora-rank 16

The adapter of a step is written into the run's folder, which the server has to see under the same
path, and loaded by /v1/load_lora_adapter. Prompts go out as token ids, one request a completion
with a seed of its own; a server's prefix cache shares the group's prompt. vLLM gives
log-probabilities of temperature 1: with another, start it with --logprobs-mode processed_logprobs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from edgetool import openai_client
from edgetool.errors import EngineError
from edgetool.files import write_error
from edgetool.runtime import Sampling
from edgetool.train.engines import OnToken, Rollouts
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.settings import OPENAI, RolloutSettings

ADAPTER = "rollout-adapter"  # in the run's folder
TOGETHER = 64  # requests on their way at a time, to all servers
TOKEN_ID = "token_id:"  # how vLLM writes a token for return_tokens_as_token_ids


class OpenAIEngine:
    """Servers that have the policy's base, each asked for every so manieth prompt."""

    name, exact = OPENAI, False

    def __init__(self, policy: Policy, settings: RolloutSettings, rollouts: Rollouts) -> None:
        self.policy, self._folder = policy, rollouts.folder / ADAPTER
        key = openai_client.environment_key()
        self._clients = {url: openai_client.connect(url, key) for url in settings.url}
        self._model, self._loaded = settings.model or self._first_model(), 0
        self.about = f"{', '.join(settings.url)} write the completions, with {self._model}"

    def _first_model(self) -> str:
        url, client = next(iter(self._clients.items()))
        with _naming(url):
            listed = client.models.list().data
        if not listed:
            raise EngineError(f"rollout.url {url}: the server lists no model; set rollout.model")
        return listed[0].id

    @property
    def _adapter(self) -> str:
        """A new name for each step, as a server may keep what it has loaded under an old one; the
        base before the first."""
        return f"edgetool-rollout-{self._loaded}" if self._loaded else self._model

    def load_adapter(self) -> None:
        try:
            self.policy.save_adapter(self._folder)
        except Exception as error:  # safetensors has errors of its own
            if isinstance(error, OSError) or write_error(error, self._folder) is None:
                raise
            raise OSError(str(error)) from error
        before, self._loaded = self._adapter, self._loaded + 1
        for url, client in self._clients.items():
            with _naming(url):
                path = str(self._folder.resolve())
                body = {"lora_name": self._adapter, "lora_path": path}
                client.post("/load_lora_adapter", body=body, cast_to=str)
                if self._loaded > 1:
                    client.post("/unload_lora_adapter", body={"lora_name": before}, cast_to=str)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_token: OnToken,
    ) -> list[list[RolloutCompletion]]:
        with ThreadPoolExecutor(TOGETHER) as pool:
            asked = [
                [pool.submit(self._ask, number, prompt, sampling, seed) for seed in group]
                for number, (prompt, group) in enumerate(zip(prompts, seeds, strict=True))
            ]
            try:
                return [[one.result() for one in group] for group in asked]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _ask(
        self, number: int, prompt: Sequence[int], sampling: Sampling, seed: int
    ) -> RolloutCompletion:
        url, client = list(self._clients.items())[number % len(self._clients)]
        extra: dict[str, Any] = {
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stop_token_ids": list(self.policy.stop_ids),
        }
        if sampling.top_k:
            extra["top_k"] = sampling.top_k
        with _naming(url):
            answer = client.completions.create(
                model=self._adapter,
                prompt=list(prompt),
                max_tokens=sampling.max_completion_length,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed >> 32,  # some servers take 31 bits
                logprobs=1,
                extra_body=extra,
            )
        ids, logprobs = _tokens(answer.choices[0] if answer.choices else None, url)
        [text] = self.policy.decode([ids])
        finished = ids[-1] in self.policy.stop_ids
        return RolloutCompletion(tuple(ids), text, finished, logprobs, time.perf_counter())

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def _tokens(choice: Any, url: str) -> tuple[list[int], tuple[float, ...]]:
    """The ids and log-probabilities of a choice. Raises EngineError where it lacks some."""
    logprobs = getattr(choice, "logprobs", None)
    values = getattr(logprobs, "token_logprobs", None) or []
    ids = getattr(choice, "token_ids", None) or [
        int(token.removeprefix(TOKEN_ID))
        for token in getattr(logprobs, "tokens", None) or []
        if token.startswith(TOKEN_ID)
    ]
    if not ids or len(ids) != len(values):
        raise EngineError(
            f"rollout.url {url}: the server gave {len(ids)} token ids and {len(values)} "
            "log-probabilities; it has to know return_token_ids and logprobs, as vLLM does"
        )
    return ids, tuple(map(float, values))


def _naming(url: str) -> AbstractContextManager[None]:
    """Errors of the client say which server it was."""
    return openai_client.asking(f"rollout.url {url}")
