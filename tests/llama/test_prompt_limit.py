"""Prompts that are far too long: refused by their length, beside other streams."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import Prompter
from edgetool.errors import PromptTooLong
from edgetool.llama.client import WorkerClient
from edgetool.llama.prompt_limit import WHITE_SPACE, Room, ink, shows_users
from edgetool.llama.protocol import Job
from edgetool.llama.session import LlamaSession
from edgetool.llama.vocab import read_vocabulary
from edgetool.runtime import Sampling
from tests.conftest import TINY_TEMPLATE
from tests.llama.test_client import do

MEGABYTES = "word and other things, " * (4 * 2**20 // 24)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), (" \t\r\n\v\f", 0), ("a b", 2), ("é €", 5), ("\u00a0", 2)]
)
def test_ink_is_bytes_without_ascii_white_space(text, count):
    assert ink(text, WHITE_SPACE) == ink(text.encode(), WHITE_SPACE) == count


@pytest.mark.parametrize(
    ("letters", "fits"),
    # tokens of at most 4 bytes: 10 of them hold 40, and one more has to be left to write
    [(36, True), (37, False), (4000, False)],
)
def test_a_text_is_refused_where_no_way_to_cut_it_fits(letters, fits):
    room = Room("my.gguf", limit=10, longest=4)
    texts = ["a" * (letters - 1), " " * 10**6, "b"]
    if fits:
        room.require_possible(texts)
        return
    least = -(-letters // 4)
    with pytest.raises(PromptTooLong, match=rf"at least {least} tokens, but the context holds 10"):
        room.require_possible(texts)


def test_bytes_that_no_token_stands_for_do_not_count():
    """llama.cpp's BPE drops them, as SmolLM2's does some control characters."""
    room = Room("my.gguf", limit=10, longest=4, blank=(*WHITE_SPACE, 4))
    room.require_possible(["\x04" * 10**6])
    with pytest.raises(PromptTooLong):
        room.require_possible(["\x05" * 10**6])


def test_without_a_bound_nothing_is_refused_by_its_length():
    Room("my.gguf", limit=10).require_possible(["a" * 10**6])


def test_before_rendering_only_users_words_count_and_only_where_they_are_shown():
    thought = {"role": "assistant", "content": "a" * 10**6}  # templates leave such out
    shown = Room("my.gguf", limit=10, longest=4, shown=True)
    shown.require_possible_messages([user("hi"), thought])
    with pytest.raises(PromptTooLong):
        shown.require_possible_messages([user("a" * 50), thought])
    Room("my.gguf", limit=10, longest=4).require_possible_messages([user("a" * 50)])


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        (TINY_TEMPLATE, True),
        ("{{ messages[-1].content }}", False),
        ("{{ raise_exception('no') }}", False),
        ("{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", False),
        ("{% for m in messages %}{{ m.content | trim }}{% endfor %}", True),
    ],
)
def test_a_template_is_seen_to_show_what_users_say(template, shown):
    prompter = Prompter(template, (), lambda text: [0], syntaxes.get("hermes"))
    assert shows_users(prompter) == shown


TEXTS = [
    "word " * 50,
    "a" * 300,
    "\n\n\n   x" * 40,
    "naïve café — 東京 🎉" * 20,
    "<|im_start|>user\n<tool_call>" * 30,
    "=" * 500 + "-" * 500,
    '{"city": "Oslo", "days": 3}' * 30,
    "\u00a0\u3000 \u2028" * 50,
    "\x01\x04\x06\x7f" * 100,
]


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"])
def test_no_real_tokenizer_needs_fewer_tokens_than_the_bound(shared: Path, name: str):
    import llama_cpp

    path = shared / "fixtures" / "vocab" / f"ggml-vocab-{name}.gguf"
    llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    vocabulary = read_vocabulary(llama_cpp.llama_model_get_vocab(llama.model))
    counts = [len(llama.tokenize(t.encode(), add_bos=False, special=True)) for t in TEXTS]
    llama.close()
    assert 1 <= vocabulary.longest < 1000
    for text, count in zip(TEXTS, counts, strict=True):
        assert count * vocabulary.longest >= ink(text, vocabulary.blank), text


def test_the_bound_of_a_session_holds_for_its_own_prompts(session: LlamaSession):
    assert session.room.shown
    for text in TEXTS:
        ids = session.prompter.ids([user(text)], ())
        assert len(ids) * session.room.longest >= ink(text, bytes(session.room.blank))


@pytest.fixture(scope="module")
def writer(gguf):
    with WorkerClient(gguf, context=1024) as opened:
        yield opened


def test_a_users_flood_never_reaches_the_engine(writer, monkeypatch):
    told = []
    monkeypatch.setattr(writer._child, "say", told.append)
    for job in (Job((user(MEGABYTES),)), Job((), prompt=MEGABYTES)):
        with pytest.raises(PromptTooLong, match=r"at least \d+ tokens, but the context holds 1024"):
            asyncio.run(do(writer, job))
    assert told == []


@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
def test_other_streams_go_on_beside_a_flood(serving, writer, role):
    """The largest gap between the chunks of a stream, which was seconds and is now some 50 ms."""
    url = f"{serving(writer)}/v1/chat/completions"
    flood = [user("hi"), {"role": role, "content": MEGABYTES}]
    if role == "assistant":
        flood.append(user("go on"))
    times: list[float] = []

    def stream() -> None:
        # seeds that talk on: a random model may end at once
        for seed in range(100):
            body = {"messages": [user("tell me")], "temperature": 2, "seed": seed, "stream": True}
            with httpx.stream("POST", url, json=body, timeout=60) as lines:
                for line in lines.iter_lines():
                    if line:
                        times.append(time.monotonic())
            if answered:
                return

    answered: list[httpx.Response] = []
    thread = threading.Thread(target=stream)
    thread.start()
    time.sleep(0.3)
    sent = time.monotonic()
    answered.append(httpx.post(url, json={"messages": flood}, timeout=60))
    over = time.monotonic()
    thread.join()
    assert answered[0].status_code == 400
    assert answered[0].json()["error"]["code"] == "context_length_exceeded"
    during = [moment for moment in times if sent - 0.3 < moment < over + 0.3]
    gaps = [later - earlier for earlier, later in pairwise(during)]
    assert len(gaps) > 5
    assert max(gaps) < 1.0


def test_a_cancelled_job_is_not_prepared_into_life(writer):
    async def leave_at_once():
        events = writer.write(Job((user("hello"),), sampling=Sampling(900)))
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await events.aclose()
        assert writer.load == 0
        return await asyncio.gather(
            *(do(writer, Job((user("hi"),), sampling=Sampling(5))) for _ in range(8))
        )

    assert len(asyncio.run(leave_at_once())) == 8
