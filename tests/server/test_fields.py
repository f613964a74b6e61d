"""What common clients send beyond OpenAI's own fields, and what of it is refused."""

from __future__ import annotations

import json

import numpy as np
import openai
import pytest

from edgetool.llama.protocol import Job
from edgetool.llama.sampler import choose
from edgetool.server.bodies import read_request
from edgetool.server.fields import IGNORED, KEEP_THE_BEST, NEUTRAL
from edgetool.server.requests import BadRequest, ChatRequest, CompletionRequest
from tests.server.scripted import ScriptedWriter

HELLO = [{"role": "user", "content": "hello"}]
CONTEXT = 512

# As these clients send them when their user set nothing.
CLIENTS = {
    "llama.cpp's page": {
        "stream": True,
        "reasoning_format": "auto",
        "timings_per_token": True,
        "return_progress": True,
        "samplers": "",
        "dynatemp_range": 0,
        "dynatemp_exponent": 1,
        "xtc_probability": 0,
        "xtc_threshold": 0.1,
        "typ_p": 1,
        "repeat_last_n": 64,
        "repeat_penalty": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "max_tokens": -1,
        "dry_multiplier": 0,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": -1,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0,
        "temperature": 0.8,
    },
    "llama-cpp-python": {
        "mirostat_mode": None,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "tfs_z": 1.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "grammar": None,
        "logit_bias": None,
    },
    "vLLM": {
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "length_penalty": 1.0,
        "stop_token_ids": [],
        "include_stop_str_in_output": False,
        "ignore_eos": False,
        "min_tokens": 0,
        "skip_special_tokens": True,
        "spaces_between_special_tokens": True,
        "echo": False,
        "add_generation_prompt": True,
        "continue_final_message": False,
        "guided_json": None,
        "guided_regex": None,
        "prompt_logprobs": None,
        "priority": 0,
        "use_beam_search": False,
        "best_of": None,
        "request_id": "a",
        "cache_salt": "b",
    },
    "LangChain": {
        "n": 1,
        "stream": False,
        "parallel_tool_calls": True,
        "stream_options": None,
        "logit_bias": {},
        "top_logprobs": 0,
        "logprobs": False,
        "seed": None,
        "stop": None,
    },
    "LiteLLM": {
        "metadata": {"a": "b"},
        "user": "me",
        "service_tier": "auto",
        "store": False,
        "max_completion_tokens": 16,
        "modalities": ["text"],
        "extra_body": None,
    },
    "LM Studio": {"max_tokens": -1, "ttl": 300, "draft_model": "small", "seed": -1, "top_k": 0},
    "Ollama": {"keep_alive": "5m", "options": {}, "format": ""},
    "OpenRouter": {"provider": {"sort": "price"}, "transforms": [], "usage": {"include": True}},
}


def job(kind=ChatRequest, **fields) -> Job:
    asked = {"messages": HELLO} if kind is ChatRequest else {"prompt": "hello"}
    [only] = read_request(kind, json.dumps({**asked, **fields}).encode()).jobs((), CONTEXT)
    return only


@pytest.mark.parametrize("fields", CLIENTS.values(), ids=CLIENTS.keys())
def test_what_a_client_sends_unasked_is_accepted(fields):
    assert job(**fields).messages == ({"role": "user", "content": "hello"},)


@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
@pytest.mark.parametrize("name", sorted(IGNORED | set(NEUTRAL)))
def test_a_field_we_do_not_act_on_may_be_null(kind, name):
    job(kind, **{name: None})


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in NEUTRAL for value in NEUTRAL[name]]
)
def test_a_neutral_value_leaves_the_job_as_it_was(name, value):
    assert job(seed=1, temperature=1, **{name: value}) == job(seed=1, temperature=1)


@pytest.mark.parametrize("name", sorted(set(NEUTRAL)))
@pytest.mark.parametrize("value", [0.37, {"x": 1}, ["x"]], ids=json.dumps)
def test_another_value_would_change_the_answer_and_is_refused_by_name(name, value):
    with pytest.raises(BadRequest, match=f"'{name}' would change the answer") as refused:
        job(temperature=1, **{name: value})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_logprobs", 3),
        ("ignore_eos", True),
        ("echo", 1),
        ("frequency_penalty", False),
        ("skip_special_tokens", False),
        ("guided_json", {"type": "object"}),
        ("repeat_penalty", 1.1),
        ("options", {"num_ctx": 4}),
        ("max_token", 5),
    ],
)
@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
def test_what_asks_for_something_else_is_refused(kind, name, value):
    with pytest.raises(BadRequest, match=f"'{name}'") as refused:
        job(kind, **{name: value})
    assert refused.value.param == name


@pytest.mark.parametrize("name", sorted(KEEP_THE_BEST))
def test_a_filter_that_keeps_the_likeliest_token_matters_only_where_one_is_drawn(name):
    job(**{name: 0.3})
    job(temperature=0, **{name: 0.3})
    with pytest.raises(BadRequest, match=name):
        job(temperature=0.5, **{name: 0.3})


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_minus_one_token_is_as_many_as_there_is_room_for(name):
    assert job(**{name: -1}).sampling.max_completion_length == CONTEXT
    assert job(**{name: 7}).sampling.max_completion_length == 7


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"n_predict": 3, "max_tokens": 4}, 4),
        ({"max_tokens": 4, "max_completion_tokens": 5}, 5),
        ({"n_predict": 3, "max_tokens": None}, 3),
    ],
)
def test_openais_names_of_the_limit_come_first(fields, limit):
    assert job(**fields).sampling.max_completion_length == limit


@pytest.mark.parametrize(("given", "used"), [(40, 40), (0, 0), (-1, 0), (None, 0)])
def test_top_k_is_the_samplers(given, used):
    assert job(top_k=given).sampling.top_k == used


def test_top_p_of_zero_takes_the_likeliest_token():
    logits, generator = np.array([0.0, 3.0, 1.0], np.float32), np.random.default_rng(0)
    sampling = job(top_p=0, temperature=1).sampling
    assert {choose(logits, sampling, generator) for _ in range(50)} == {1}


def test_a_seed_of_minus_one_is_another_one_each_time():
    assert job(seed=-1).sampling.seed != job(seed=-1).sampling.seed


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_passes_other_servers_fields_on(serving, stream):
    beyond = {"max_tokens": -1, "cache_prompt": True, "n_predict": -1, "top_k": 40, "min_p": 0.05}
    known = {"parallel_tool_calls": True, "logit_bias": {}, "presence_penalty": 0, "store": True}
    known |= {"metadata": {"a": "b"}, "user": "me", "service_tier": "auto", "top_logprobs": 0}
    asked = {"model": "any", "messages": HELLO, "stream": stream}
    with openai.OpenAI(base_url=f"{serving(ScriptedWriter())}/v1", api_key="x") as client:
        answer = client.chat.completions.create(**asked, **known, extra_body=beyond)
        if stream:
            said = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            said = answer.choices[0].message.content
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**asked, extra_body={"repeat_penalty": 1.2})
    assert said == "Hello"
    assert refused.value.param == "repeat_penalty"
