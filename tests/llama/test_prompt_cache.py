"""A prompt's beginning that is kept on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgetool.calls.types import Tool
from edgetool.llama.prompt_cache import KEPT, folder_of, prefill, prefix_ids
from edgetool.llama.session import LlamaSession
from edgetool.runtime import Sampling

PROPERTIES = {f"field_{i}": {"type": "string", "description": "What it is."} for i in range(12)}
TOOL = Tool("fill_form", "Fill a form", {"type": "object", "properties": PROPERTIES})
ASKED = [{"role": "user", "content": "Fill it, please."}]


@pytest.fixture
def model(gguf: Path, tmp_path: Path) -> Path:
    """A copy of its own, so that what is kept beside it is, too."""
    return Path(shutil.copy(gguf, tmp_path))


def open_(path: Path) -> LlamaSession:
    return LlamaSession(path, context=1024, sequences=2)


def test_the_next_start_reads_the_tools_from_disk(model: Path):
    with open_(model) as session:
        first = prefill(session, [TOOL])
    with open_(model) as session:
        second = prefill(session, [TOOL])
        assert second.tokens == len(prefix_ids(session, [TOOL])) > 0
        prompt = session.prompter.ids(ASKED, [TOOL])
        session.engine.read(prompt)
        assert session.engine.kept == second.tokens
    assert (first.loaded, second.loaded) == (False, True)
    assert first.tokens == second.tokens


def test_what_is_written_behind_it_is_the_same_to_the_bit(model: Path):
    with open_(model) as session:
        prompt = session.prompter.ids(ASKED, [TOOL])
        cold = session.engine.read(prompt).copy()
        prefill(session, [TOOL])
    with open_(model) as session:
        assert prefill(session, [TOOL]).loaded
        assert (session.engine.read(prompt) == cold).all()
        # another sequence copies it from there
        assert (session.engine.read(prompt, 1) == cold).all()
        said = session.generate(prompt, Sampling(20)).text
    with open_(model) as session:
        assert session.generate(prompt, Sampling(20)).text == said


def kept(model: Path) -> Path:
    [state] = folder_of(model).glob("*.kv")
    return state


def cut(state: Path) -> None:
    state.write_bytes(state.read_bytes()[:-100])


def alter(state: Path) -> None:
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)


def forget_the_note(state: Path) -> None:
    state.with_suffix(".json").unlink()


def break_the_note(state: Path) -> None:
    state.with_suffix(".json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize("harm", [cut, alter, forget_the_note, break_the_note])
def test_a_file_that_is_not_the_one_written_is_made_anew(model: Path, harm):
    with open_(model) as session:
        prefill(session, [TOOL])
    harm(kept(model))
    with open_(model) as session:
        assert not prefill(session, [TOOL]).loaded
        assert prefill(session, [TOOL]).loaded


def test_a_file_of_other_tokens_is_not_taken(model: Path):
    with open_(model) as session:
        prefill(session, [TOOL])
        ids = prefix_ids(session, [TOOL])
        assert not session.engine.load_state(kept(model), [*ids[:-1], ids[-1] + 1])
        assert not session.engine.load_state(kept(model), ids[:-64])


def test_other_tools_and_another_model_have_files_of_their_own(model: Path):
    other = Tool("fill_forms", TOOL.description, TOOL.parameters)
    with open_(model) as session:
        paths = {prefill(session, tools).path for tools in ([TOOL], [other], [TOOL, other])}
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with open_(model) as session:
        paths.add(prefill(session, [TOOL]).path)
    assert len(paths) == 4


def test_the_oldest_of_many_goes(model: Path):
    with open_(model) as session:
        for number in range(KEPT + 2):
            prefill(session, [Tool(f"tool_{number}", "", TOOL.parameters)])
    assert len(list(folder_of(model).glob("*.kv"))) == KEPT
    assert len(list(folder_of(model).glob("*.json"))) == KEPT


def test_a_prompt_without_tools_is_too_short_to_keep(model: Path):
    with open_(model) as session:
        assert prefill(session, []) is None
    assert not folder_of(model).exists()


def test_the_note_says_what_was_kept(model: Path):
    with open_(model) as session:
        prefilled = prefill(session, [TOOL])
    assert json.loads(prefilled.path.with_suffix(".json").read_text())["tokens"] == prefilled.tokens
