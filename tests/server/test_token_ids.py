"""Token ids in, token ids and log-probabilities out: what a trainer asks a server for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch

from edgetool.llama.client import WorkerClient
from edgetool.llama.generate import log_probability
from edgetool.runtime import Sampling
from edgetool.train.engines import Rollouts, TorchEngine
from edgetool.train.engines.openai import OpenAIEngine
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.policy import Policy
from edgetool.train.settings import RolloutSettings

PROMPT = [5, 9, 33, 70, 8]
ASKED = {"logprobs": 1, "extra_body": {"return_tokens_as_token_ids": True}}


@pytest.fixture(scope="module")
def url(serving: Any, gguf: Path) -> Iterator[str]:
    with WorkerClient(gguf, context=512) as writer:
        yield f"{serving(writer)}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    settings = LoadSettings(load_in_4bit=False, bf16=False, device="cpu")
    return load_policy(tiny_model, None, settings)


def complete(client: openai.OpenAI, prompt: Any = PROMPT, **body: Any) -> Any:
    asked = {"model": "any", "max_tokens": 6, "temperature": 1.0, "seed": 3, **ASKED, **body}
    return client.completions.create(prompt=prompt, **asked).choices[0]


def test_a_log_probability_is_that_of_the_softmax_at_the_temperature() -> None:
    logits = np.array([0.0, math.log(3), -np.inf], dtype=np.float32)
    assert log_probability(logits, 1, 1.0) == pytest.approx(math.log(3 / 4))
    assert log_probability(logits, 0, 0.5) == pytest.approx(math.log(1 / 10))
    assert log_probability(logits, 1, 0.0) == pytest.approx(math.log(3 / 4))


def test_ids_and_log_probabilities_are_the_models(client: openai.OpenAI, policy: Policy) -> None:
    choice = complete(client)
    ids = choice.token_ids
    assert choice.logprobs.tokens == [f"token_id:{token}" for token in ids]
    with torch.no_grad():
        logits = policy.causal(torch.tensor([PROMPT + ids])).logits[0]
    places = torch.arange(len(PROMPT) - 1, len(PROMPT) + len(ids) - 1)
    expected = logits.log_softmax(dim=-1)[places, torch.tensor(ids)]
    assert choice.logprobs.token_logprobs == pytest.approx(expected.tolist(), abs=5e-3)


def test_stop_tokens_of_a_request_end_it_and_are_told(client: openai.OpenAI) -> None:
    whole = complete(client).token_ids
    body = {**ASKED["extra_body"], "stop_token_ids": [whole[2]]}
    cut = complete(client, extra_body=body)
    assert cut.token_ids == whole[: whole.index(whole[2]) + 1]
    assert cut.finish_reason == "stop"


def test_nothing_is_told_that_nobody_asked_for(client: openai.OpenAI) -> None:
    choice = complete(client, logprobs=None, extra_body={})
    assert choice.logprobs is None and not hasattr(choice, "token_ids")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": [5, 999_999]}, "prompt: the model has no token 999999"),
        ({"extra_body": {}}, "add return_tokens_as_token_ids"),
        ({"stream": True}, "a stream has none"),
    ],
)
def test_what_cannot_be_done_is_refused(
    client: openai.OpenAI, body: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        complete(client, **body)


def test_a_rollout_by_our_server_is_near_the_policy(
    url: str, policy: Policy, tmp_path: Path
) -> None:
    engine = OpenAIEngine(policy, RolloutSettings("openai", url=(url,)), Rollouts(tmp_path, 64, 4))
    try:
        sampling, seeds = Sampling(6, 1.0), [[1 << 40, 2 << 40], [3 << 40, 4 << 40]]
        groups = engine.write([PROMPT, PROMPT[:2]], sampling, seeds, lambda _: None)
    finally:
        engine.close()
    shape = [[len(one.token_ids) for one in group] for group in groups]
    theirs = TorchEngine(policy).write([PROMPT, PROMPT[:2]], sampling, seeds, lambda _: None)
    assert shape == [[len(one.token_ids) for one in group] for group in theirs]
    assert all(one.text == policy.decode([one.token_ids])[0] for g in groups for one in g)
