"""Fields of a request that we do not act on: which of them change nothing, and which are refused.

Clients were written for many servers and send what those understand. A field that asks for nothing
is accepted, whoever invented it. One that would change the answer is refused by its name, for an
answer that ignores it would look right. So would a name that nobody knows: a typing mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Any value: these change nothing about what one model on this machine writes.
IGNORED = frozenset(
    # OpenAI: bookkeeping, caching, billing
    "metadata prediction prompt_cache_key prompt_cache_options prompt_cache_retention "
    "reasoning_effort safety_identifier service_tier store user verbosity "
    # llama.cpp: where a prompt is kept, what is told of speed, and the tails of switched-off
    # samplers, whose heads are in NEUTRAL
    "cache_prompt id_slot slot_id n_keep n_discard n_cache_reuse timings_per_token return_progress "
    "post_sampling_probs reasoning_format repeat_last_n penalize_nl dry_base dry_allowed_length "
    "dry_penalty_last_n dry_sequence_breakers xtc_threshold dynatemp_exponent mirostat_tau "
    "mirostat_eta speculative.n_max speculative.n_min speculative.p_min "
    # vLLM and SGLang: names and order of requests
    "request_id rid priority cache_salt guided_decoding_backend spaces_between_special_tokens "
    # LM Studio, Ollama: how long a model stays loaded, what helps it write
    "ttl draft_model keep_alive "
    # OpenRouter and LiteLLM: which of several machines answers
    "provider route models usage litellm_metadata litellm_call_id".split()
)
# Field -> the values of it that ask for nothing. None does so in every field.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    # OpenAI
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({}, []),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "presence_penalty": (0,),
    "suffix": ("",),
    "top_logprobs": (0,),
    "web_search_options": (),
    # llama.cpp
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "grammar": ("",),
    "grammar_lazy": (False,),
    "grammar_triggers": ([],),
    "ignore_eos": (False,),
    "json_schema": ({},),
    "lora": ([],),
    "min_keep": (0, 1),
    "mirostat": (0,),
    "n_probs": (0,),
    "parse_tool_calls": (True,),
    "preserved_tokens": ([],),
    "repeat_penalty": (1,),
    "response_fields": ([],),
    "return_tokens": (False,),
    "samplers": ([], ""),
    "t_max_predict_ms": (0, -1),
    "xtc_probability": (0,),
    # vLLM and SGLang
    "add_generation_prompt": (True,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "continue_final_message": (False,),
    "documents": ([],),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_tokens": (0,),
    "no_stop_trim": (False,),
    "prompt_logprobs": (),
    "repetition_penalty": (1,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    # Ollama, OpenRouter, Mistral
    "format": ("",),
    "options": ({},),
    "raw": (False,),
    "plugins": ([],),
    "transforms": ([],),
    "safe_prompt": (False,),
    # filters of KEEP_THE_BEST
    "min_p": (0,),
    "tfs_z": (1,),
    "top_a": (0,),
    "top_n_sigma": (-1, 0),
    "typ_p": (1,),
    "typical_p": (1,),
}
# Filters that never drop the likeliest token, which is the one that temperature 0 takes.
KEEP_THE_BEST = frozenset(("min_p", "tfs_z", "top_a", "top_n_sigma", "typ_p", "typical_p"))


def is_known(name: str) -> bool:
    return name in IGNORED or name in NEUTRAL


def asks_for_nothing(name: str, value: Any, *, greedy: bool) -> bool:
    """A request with this field is answered as one without it.

    greedy   the request's temperature is 0
    """
    if value is None or name in IGNORED:
        return True
    if greedy and name in KEEP_THE_BEST:
        return True
    return any(_same(value, neutral) for neutral in NEUTRAL.get(name, ()))


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON is: 0 and 0.0 are, 0 and false are not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
