"""A model whose tokenizer names another end than its turns have, as Phi-3.5's and Gemma 3's do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetool.calls.prompt.turns import KNOWN_ENDS
from edgetool.calls.types import Example, Tool
from edgetool.commands.targets import policy_runtime
from edgetool.export.export import export_gguf
from edgetool.grammar.llguidance import GrammarConstraint, for_llama, for_tokenizer
from edgetool.llama.session import LlamaSession
from edgetool.runtime import CONSTRAINED, FREE, Sampling
from edgetool.train.load import LoadSettings, load_policy, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
PLAIN = LoadSettings(load_in_4bit=False, bf16=False, device="cpu")


def two_ended(source: Path, folder: Path) -> Path:
    """A copy whose tokenizer has another eos than generation_config.json names."""
    copy = Path(shutil.copytree(source, folder / "model"))
    file = copy / "tokenizer_config.json"
    settings = {**json.loads(file.read_text(encoding="utf-8")), "eos_token": "<|endoftext|>"}
    file.write_text(json.dumps(settings), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_ended(tiny_model, tmp_path_factory.mktemp("two_ended"))


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[LlamaSession]:
    export_gguf(folder, None, folder, ["F16"])
    with LlamaSession(folder / "model.F16.gguf") as session:
        yield session


def ends_of(constraint: GrammarConstraint, size: int, written: list[int]) -> set[int]:
    """What may come behind the tokens written."""
    for token in written:
        constraint.mask(np.zeros(size, np.float32))
        constraint.advance(token, 1000)
    return set(np.isfinite(constraint.mask(np.zeros(size, np.float32))).nonzero()[0].tolist())


def test_the_file_names_both_ends_the_templates_own_first(session: LlamaSession) -> None:
    markers, metadata = session.vocabulary.markers, session.engine.llama.metadata
    assert metadata["tokenizer.ggml.eos_token_id"] == str(markers["<|endoftext|>"])
    assert metadata["tokenizer.ggml.eot_token_id"] == str(markers["<|im_end|>"])
    assert session.vocabulary.stop_ids == (markers["<|im_end|>"], markers["<|endoftext|>"])


def test_a_call_may_end_with_each_of_them_in_llama_cpp(
    session: LlamaSession, examples: list[Example]
) -> None:
    constraint = for_llama(session)(examples[1].tools)
    written = session.prompter.encode(CALL)
    allowed = ends_of(constraint, session.vocabulary.size, list(written))
    assert set(session.vocabulary.stop_ids) < allowed


def test_one_call_ends_where_it_has_to(session: LlamaSession, examples: list[Example]) -> None:
    held = for_llama(session)(examples[1].tools, parallel=False, required=True)
    sampling = Sampling(max_completion_length=200, temperature=1.0, seed=1)
    ids = session.prompter.ids(examples[1].messages, examples[1].tools)
    done = session.generate(ids, sampling, held, skip_forced=True)
    assert done.finished
    assert len(session.syntax.parse(done.text).calls) == 1


def test_the_policy_stops_and_is_held_as_the_file_is(
    folder: Path, session: LlamaSession, examples: list[Example]
) -> None:
    policy = load_policy(folder, None, PLAIN)
    assert policy.stop_ids == session.vocabulary.stop_ids
    runtime = policy_runtime(policy)
    sampling = Sampling(max_completion_length=120, temperature=1.0, seed=3)
    for _, done in runtime.generate(examples[:2], sampling, CONSTRAINED):
        assert done.finished
        assert done.token_ids[-1] in policy.stop_ids


def test_a_stop_token_that_is_text_to_the_engine_ends_nothing_inside_a_string(
    folder: Path, session: LlamaSession, examples: list[Example]
) -> None:
    [letter] = session.prompter.encode("a")
    make = for_tokenizer(load_tokenizer(str(folder)), session.syntax, [2, letter])
    begun = list(session.prompter.encode(CALL.partition("Oslo")[0]))
    size = session.vocabulary.size
    assert letter not in ends_of(make(examples[1].tools), size, begun)
    assert letter in ends_of(make(examples[1].tools), size, list(session.prompter.encode(CALL)))


def test_call_markers_that_are_control_tokens_are_text_in_a_completion(
    tiny_model: Path, tmp_path: Path, examples: list[Example]
) -> None:
    """As Mistral's [TOOL_CALLS] and FunctionGemma's <start_function_call> are."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    for token in tokenizer["added_tokens"]:
        token["special"] = True
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with LlamaSession(export_gguf(copy, None, tmp_path, ["F16"])[0].path) as session:
        row = examples[1]
        held = for_llama(session)(row.tools, required=True)
        sampling = Sampling(max_completion_length=100, temperature=1.0, seed=1)
        done = session.generate(session.prompter.ids(row.messages, row.tools), sampling, held)
        assert session.syntax.parse(done.text, row.tools).strict_calls
        assert session.vocabulary.pieces[session.vocabulary.markers["<|im_start|>"]] == b""


@pytest.mark.slow
def test_nano_with_two_ends_makes_one_call_and_stops(shared: Path, tmp_path: Path) -> None:
    """The case eos_constrained: three calls and a cut before."""
    folder = two_ended(ROOT / "models" / "nano", tmp_path)
    export_gguf(folder, None, folder, ["F16"])
    listed = json.loads((shared / "cases" / "eos_constrained" / "music.json").read_text())
    tools = tuple(Tool(**tool["function"]) for tool in listed)
    question = [{"role": "user", "content": "play some jazz by Chet Baker"}]
    with LlamaSession(folder / "model.F16.gguf") as session:
        ids = session.prompter.ids(question, tools)
        done = session.generate(ids, Sampling(), for_llama(session)(tools))
        assert done.finished
        assert not done.shortened
        assert len(session.syntax.parse(done.text).calls) == 1
    runtime = policy_runtime(load_policy(folder, None, PLAIN))
    example = Example("1", tuple(question), tools, ())
    for arm in (FREE, CONSTRAINED):
        [(_, done)] = runtime.generate([example], Sampling(), arm)
        assert done.finished
        assert len(runtime.syntax.parse(done.text).calls) == 1


def ends_at(text: str, folder: Path) -> bool:
    """Whether llama.cpp ends a completion at a token of this text that no metadata names."""
    import llama_cpp
    from gguf import GGUFWriter

    path = folder / "vocabulary.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", "b", "ab", "start", "stop", text])
    writer.add_token_types([1, 1, 1, 3, 3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    try:
        return bool(llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(model), 5))
    finally:
        llama_cpp.llama_model_free(model)


@pytest.mark.parametrize("text", KNOWN_ENDS)
def test_llama_cpp_ends_a_completion_at_every_known_end(text: str, tmp_path: Path) -> None:
    assert ends_at(text, tmp_path)


@pytest.mark.parametrize("text", ["<|im_start|>", "<tool_call>", "<start_of_turn>", "word"])
def test_llama_cpp_goes_on_behind_other_markers(text: str, tmp_path: Path) -> None:
    assert not ends_at(text, tmp_path)


def test_the_policy_ends_where_the_file_will(tiny_model: Path) -> None:
    from edgetool.train.load import load_policy

    policy = load_policy(tiny_model)
    ids = policy.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert list(policy.stop_ids) == ids
