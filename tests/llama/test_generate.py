"""Several completions at once, in one process and in several."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetool.calls.types import Example, Tool
from edgetool.errors import ModelError, UsageError
from edgetool.export.export import export_gguf
from edgetool.llama import heartbeat
from edgetool.llama.generate import BatchGenerator, probability
from edgetool.llama.pool import PoolRuntime
from edgetool.llama.runtime import GGUFRuntime
from edgetool.llama.session import LlamaSession
from edgetool.runtime import CONSTRAINED, FREE, GBNF, NAMES_ONLY, Sampling, in_order

SHORT = Sampling(max_completion_length=8)
WARM = Sampling(max_completion_length=8, temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def q8(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In Q8_0 llama.cpp rounds the same however many tokens it is given; in F16 it does not."""
    return export_gguf(tiny_model, None, tmp_path_factory.mktemp("q8"), ["Q8_0"])[0].path


@pytest.fixture(scope="module")
def alone(q8: Path) -> Iterator[LlamaSession]:
    with LlamaSession(q8, context=1024) as session:
        yield session


@pytest.fixture(scope="module")
def several(q8: Path) -> Iterator[LlamaSession]:
    with LlamaSession(q8, context=1024, sequences=3) as session:
        yield session


@pytest.fixture(scope="module")
def many(examples: list[Example]) -> list[Example]:
    """Eight rows; the prompts of some begin alike, far beyond a chunk."""
    return [replace(examples[i % 3], id=f"row {i}") for i in range(8)]


@pytest.mark.parametrize("arm", [FREE, CONSTRAINED])
@pytest.mark.parametrize("sampling", [SHORT, WARM], ids=["greedy", "sampled"])
def test_company_does_not_change_a_completion(alone, several, many, arm, sampling):
    one_by_one = in_order(GGUFRuntime(alone).generate(many, sampling, arm))
    together = in_order(GGUFRuntime(several).generate(many, sampling, arm))
    assert [c.token_ids for c in together] == [c.token_ids for c in one_by_one]


def test_neither_does_the_order_of_rows(several, many):
    there = in_order(GGUFRuntime(several).generate(many, WARM))
    back = in_order(GGUFRuntime(several).generate(many[::-1], WARM))
    assert [c.token_ids for c in back[::-1]] == [c.token_ids for c in there]


def test_what_another_sequence_has_read_gives_the_same_logits(several, examples):
    ids = several.prompter.ids(examples[0].messages, examples[0].tools)
    assert len(ids) > 128
    several.engine.forget()
    fresh = several.engine.read(ids, 0).copy()
    assert (several.engine.read(ids, 2) == fresh).all()  # two chunks are copied from sequence 0
    assert several.engine._chunks[2] == several.engine._chunks[0]


def test_steps_of_several_sequences_are_those_of_each_alone(several, examples):
    engine = several.engine
    prompts = [several.prompter.ids(e.messages, e.tools) for e in examples]
    engine.forget()
    for sequence, ids in enumerate(prompts):
        engine.read(ids, sequence)
    together = [row.copy() for row in engine.feed({0: [40], 1: [41], 2: [42]})]
    for sequence, ids in enumerate(prompts):
        engine.read(ids, 0)
        assert (engine.feed({0: [40 + sequence]})[0] == together[sequence]).all()


def test_a_prompt_that_is_too_long_costs_its_row_only(gguf, examples):
    long = replace(examples[0], id="long", messages=({"role": "user", "content": "a " * 3000},))
    with LlamaSession(gguf, context=512, sequences=2) as small:
        one, two, three = in_order(
            GGUFRuntime(small).generate([examples[0], long, examples[2]], SHORT)
        )
    assert one.error is None and three.error is None
    assert two.error is not None and "context holds" in two.error and two.text == ""


def test_an_arm_that_is_not_offered_is_refused(session, examples):
    with pytest.raises(UsageError, match="'gbnf' is not offered here; choose of: free"):
        list(GGUFRuntime(session).generate(examples, SHORT, GBNF))


def test_a_batch_has_as_many_places_as_the_session_has_sequences(several, examples):
    batch: BatchGenerator[str] = BatchGenerator(several)
    ids = several.prompter.ids(examples[0].messages, examples[0].tools)
    for key in "abc":
        batch.add(key, ids, SHORT)
    assert batch.free == 0 and batch.keys == ["a", "b", "c"]
    while batch.keys:
        batch.round()
    assert batch.free == 3


def test_caches_that_would_take_too_much_are_fewer(q8, monkeypatch):
    # two layers, four heads of which two hold keys and values of 64: 2 * 2 * 128 * 2 = 1024 bytes
    # a token, 512 KiB for 512 of them
    monkeypatch.setattr("edgetool.llama.memory.CACHE_BYTES", 5 * 2**19)
    with LlamaSession(q8, context=512, sequences=8) as session:
        assert session.engine.sequences == 5
    monkeypatch.setattr("edgetool.llama.memory.CACHE_BYTES", 1)
    with LlamaSession(q8, context=512, sequences=8) as session:
        assert session.engine.sequences == 1


def test_the_probability_of_a_token_by_hand():
    # e^1 / (e^0 + e^1 + e^2) = 0.244728
    logits = np.array([0.0, 1.0, 2.0], np.float32)
    assert probability(logits, 1) == pytest.approx(0.244728, abs=1e-6)


def test_a_completion_says_how_hard_it_was_held(several, examples):
    [free] = in_order(GGUFRuntime(several).generate(examples[:1], SHORT))
    [held] = in_order(GGUFRuntime(several).generate(examples[:1], SHORT, CONSTRAINED))
    assert free.cut_mass is None and free.forced == 0
    assert held.cut_mass is not None and 0 < held.cut_mass < 1  # a random model: nearly all is cut
    assert free.call_mass == held.call_mass and 0 < (free.call_mass or 0) < 1
    assert 0 < (free.first_seconds or 0) <= free.seconds


IMPOSSIBLE = Tool(
    "never",
    "",
    {
        "type": "object",
        "properties": {"n": {"type": "integer", "enum": ["one"]}},
        "required": ["n"],
    },
)


def test_tools_no_grammar_can_hold_leave_the_row_free_and_say_so(several, examples):
    odd = replace(examples[0], id="odd", tools=(IMPOSSIBLE,))
    runtime = GGUFRuntime(several)
    held, fine = in_order(runtime.generate([odd, examples[0]], SHORT, CONSTRAINED))
    [free] = in_order(runtime.generate([odd], SHORT))
    assert held.unconstrained is not None and "never" in held.unconstrained
    assert held.token_ids == free.token_ids and held.cut_mass is None
    assert fine.unconstrained is None
    [names] = in_order(runtime.generate([odd], SHORT, NAMES_ONLY))
    assert names.unconstrained is None  # any value will do there


@pytest.fixture(scope="module")
def pool(q8: Path) -> Iterator[PoolRuntime]:
    with PoolRuntime(q8, "gguf:Q8_0", workers=2, sequences=2, context=1024) as runtime:
        yield runtime


@pytest.mark.slow
def test_processes_write_what_one_session_writes(pool, alone, many):
    for arm in (FREE, CONSTRAINED):
        expected = [c.token_ids for c in in_order(GGUFRuntime(alone).generate(many, WARM, arm))]
        assert [c.token_ids for c in in_order(pool.generate(many, WARM, arm))] == expected
    assert pool.peak_mb > 10


@pytest.mark.slow
@pytest.mark.parametrize("fate", [signal.SIGSEGV, signal.SIGSTOP], ids=["crash", "hang"])
def test_a_lost_process_costs_nothing_but_time_when_the_row_is_not_at_fault(
    pool, many, monkeypatch, fate
):
    monkeypatch.setattr(heartbeat, "PATIENCE", 3)  # beats until a hung one is ended
    expected = [c.token_ids for c in in_order(pool.generate(many, SHORT))]
    made = {}
    for number, completion in pool.generate(many, SHORT):
        if not made:
            os.kill(pool._workers[0]._process.pid, fate)
        made[number] = completion
    assert [made[n].token_ids for n in range(len(many))] == expected


@pytest.mark.slow
def test_a_row_that_always_crashes_costs_itself(pool, many, monkeypatch):
    crashing = "this row kills the engine"
    bad = replace(many[3], id="bad", messages=({"role": "user", "content": crashing},))
    monkeypatch.setenv("PYTHONPATH", _killer(pool, crashing))
    with PoolRuntime(pool.path, workers=1, sequences=3, context=1024) as fragile:
        made = in_order(fragile.generate([*many[:3], bad, *many[4:]], SHORT))
    assert [c.error is not None for c in made] == [False] * 3 + [True] + [False] * 4
    assert "process ended with -11" in (made[3].error or "")


def _killer(pool: PoolRuntime, words: str) -> str:
    """A folder whose sitecustomize has every Python in it die over `words` in a prompt."""
    import tempfile

    folder = Path(tempfile.mkdtemp(dir=pool.path.parent))
    code = (
        "import sys\n"
        "if '-m' in sys.orig_argv and 'edgetool.llama.pool_worker' in sys.orig_argv:\n"
        "    import os, signal\n"
        "    from edgetool.llama.runtime import GGUFRuntime\n"
        "    read = GGUFRuntime.prompt_ids\n"
        "    def prompt_ids(self, example):\n"
        f"        if {words!r} in str(example.messages):\n"
        "            os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        return read(self, example)\n"
        "    GGUFRuntime.prompt_ids = prompt_ids\n"
    )
    (folder / "sitecustomize.py").write_text(code)
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.mark.slow
def test_leaving_early_stops_the_processes_and_leaves_none_behind(gguf, many):
    runtime = PoolRuntime(gguf, workers=2, sequences=1, context=1024)
    writing = runtime.generate(many, Sampling(max_completion_length=200))
    next(writing)
    writing.close()
    assert all(worker._process.poll() is not None for worker in runtime._workers)
    runtime.close()


@pytest.mark.slow
def test_llama_cpp_holds_a_completion_with_its_own_grammar(pool, examples):
    warm = Sampling(max_completion_length=60, temperature=1.0)
    rows = [replace(examples[0], id=str(i)) for i in range(6)]
    for completion in in_order(pool.generate(rows, warm, GBNF)):
        assert completion.error is None and completion.unconstrained is None
        text = completion.text
        assert "<tool_call>" not in text or text.startswith('<tool_call>\n{"name": "')


@pytest.mark.slow
def test_a_file_that_is_no_model_is_refused_by_the_pool_too(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ModelError, match="cut short"):
        PoolRuntime(tmp_path / "x.gguf", workers=1)
