from __future__ import annotations

from pathlib import Path

import llama_cpp
import pytest

from edgetool.calls.types import Example
from edgetool.errors import ModelError, PromptTooLong, UsageError
from edgetool.export.export import export_gguf
from edgetool.llama.runtime import GGUFRuntime
from edgetool.llama.session import LlamaSession
from edgetool.runtime import CONSTRAINED, FREE, Sampling, in_order


def prompt(session: LlamaSession, example: Example) -> list[int]:
    return session.prompter.ids(example.messages, example.tools)


def test_prompt_ids_are_those_of_the_model_folder(session, tiny_model, examples):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for example in examples:
        expected = tokenizer.apply_chat_template(
            list(example.messages),
            tools=[tool.as_openai() for tool in example.tools],
            add_generation_prompt=True,
            return_dict=False,
        )
        assert prompt(session, example) == expected


def test_the_call_syntax_is_the_one_the_template_teaches(session):
    assert session.syntax.NAME == "hermes"


def test_call_markers_are_kept_in_text_and_control_tokens_left_out(session):
    ids = session.prompter.encode("<|im_start|><tool_call>x</tool_call><|im_end|>")
    assert session.vocabulary.text(ids) == "<tool_call>x</tool_call>"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_was_asked_before_does_not_change_a_completion(session, examples, temperature):
    sampling = Sampling(max_completion_length=12, temperature=temperature, seed=3)
    first = session.generate(prompt(session, examples[0]), sampling)
    session.generate(prompt(session, examples[1]), sampling)
    again = session.generate(prompt(session, examples[0]), sampling)
    repeated = session.generate(prompt(session, examples[0]), sampling)  # reuses whole chunks
    assert first.token_ids == again.token_ids == repeated.token_ids


def test_reused_chunks_leave_the_logits_exactly_as_they_were(session, examples):
    ids = prompt(session, examples[0])
    session.engine.forget()
    fresh = session.engine.read(ids).copy()
    assert len(session.engine._chunks[0]) >= 64
    assert (session.engine.read(ids) == fresh).all()


def test_greedy_takes_the_tokens_of_a_plain_llama_cpp_loop(session, examples):
    ids = prompt(session, examples[0])
    completion = session.generate(ids, Sampling(max_completion_length=6))
    llama = llama_cpp.Llama(str(session.path), n_ctx=512, verbose=False)
    llama.eval(ids)
    expected = []
    for _ in range(len(completion.token_ids)):
        expected.append(llama.sample(temp=0.0))
        llama.eval(expected[-1:])
    llama.close()
    assert list(completion.token_ids) == expected


def test_seeds_give_different_completions(session, examples):
    ids = prompt(session, examples[0])
    made = {
        session.generate(ids, Sampling(8, temperature=1.0, seed=seed)).token_ids
        for seed in range(4)
    }
    assert len(made) > 1


def test_a_streamed_completion_is_its_text(session, examples):
    pieces: list[bytes] = []
    ids = prompt(session, examples[0])
    done = session.generate(ids, Sampling(10, temperature=1.0), on_token=pieces.append)
    assert b"".join(pieces).decode("utf-8", "replace") == done.text


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(gguf, examples):
    with LlamaSession(gguf, context=64) as small:
        ids = prompt(small, examples[0])
        with pytest.raises(PromptTooLong, match=rf"{len(ids)} tokens.*{small.limit}"):
            small.generate(ids, Sampling())


def test_a_completion_ends_where_the_context_does(session):
    ids = [5] * (session.limit - 3)
    done = session.generate(ids, Sampling(max_completion_length=50))
    assert len(done.token_ids) <= 3


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(ModelError, match="not a GGUF"):
        LlamaSession(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        LlamaSession(tmp_path / "model.gguf")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused_quietly(gguf: Path, tmp_path, share, capfd):
    whole = gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="cut short"):
        LlamaSession(path)
    assert capfd.readouterr().err == ""


def test_a_model_loads_without_a_word_on_the_terminal(gguf, capfd):
    LlamaSession(gguf, context=4096).close()  # more than tiny_model's 2048: llama.cpp would warn
    assert capfd.readouterr().err == ""


def test_a_context_of_nothing_is_refused(gguf):
    with pytest.raises(UsageError):
        LlamaSession(gguf, context=0)


def test_a_session_may_be_closed_twice(gguf):
    session = LlamaSession(gguf, context=64)
    session.close()
    session.close()


@pytest.mark.parametrize("arm", [FREE, CONSTRAINED])
def test_the_runtime_gives_one_completion_per_example(session, examples, arm):
    runtime = GGUFRuntime(session, name="gguf:F16")
    sampling = Sampling(max_completion_length=5)
    made = in_order(runtime.generate(examples, sampling, arm))
    assert len(made) == len(examples)
    if arm == FREE:
        alone = [session.generate(runtime.prompt_ids(e), sampling).token_ids for e in examples]
        assert [c.token_ids for c in made] == alone


def test_a_call_syntax_chosen_by_name_takes_the_templates_place(gguf):
    with LlamaSession(gguf, context=64, call_syntax="json") as chosen:
        assert chosen.syntax.NAME == chosen.prompter.syntax.NAME == "json"


def test_a_call_syntax_named_by_the_file_takes_the_templates_place(tiny_model, tmp_path):
    (file,) = export_gguf(tiny_model, None, tmp_path, ["F16"], call_syntax="json")
    with LlamaSession(file.path, context=64) as named:
        assert named.syntax.NAME == "json"
    with LlamaSession(file.path, context=64, call_syntax="hermes") as chosen:
        assert chosen.syntax.NAME == "hermes"


def test_an_unknown_call_syntax_is_refused(gguf):
    with pytest.raises(UsageError, match="unknown call syntax 'xml'"):
        LlamaSession(gguf, call_syntax="xml")


def test_the_free_arm_does_without_a_grammar_engine(session, examples, monkeypatch):
    def missing(_: LlamaSession) -> None:
        raise AssertionError("the grammar engine was loaded")

    monkeypatch.setattr("edgetool.llama.runtime.for_llama", missing)
    sampling = Sampling(max_completion_length=1)
    made = list(GGUFRuntime(session).generate(examples, sampling))
    assert len(made) == len(examples)
