"""`--converter`: another's script makes GGUF of what the export does not know, or none is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgetool.errors import EngineError, ModelError, UsageError
from edgetool.export.converter import export_converted, find_script
from edgetool.export.export import export_gguf
from edgetool.export.inspect import inspect_gguf
from edgetool.export.plan import check_exportable
from edgetool.files import sha256_of
from tests.calls.chat_templates import WITHOUT_TOOLS
from tests.conftest import ROOT
from tests.export.conftest import Folder, edit_json
from tests.export.test_architectures import GEMMA, USUAL
from tests.export.test_quantize import read_tensors

UNKNOWN = "UnheardOfForCausalLM"
# Takes the unknown architecture for what it is, a Qwen2 under another name.
CONVERT = f"""
import json, shutil, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from edgetool.export.export import export_gguf
model, _, outfile, _, outtype = sys.argv[1:]
assert outtype == "f32" and sys.argv[2] == "--outfile" and sys.argv[4] == "--outtype"
copy = Path(shutil.copytree(model, "copy"))
config = json.loads((copy / "config.json").read_text())
config["architectures"] = ["Qwen2ForCausalLM"]
(copy / "config.json").write_text(json.dumps(config))
export_gguf(copy, None, Path("."), ["F32"])
assert Path("model.F32.gguf").resolve() == Path(outfile)
"""
FAIL = """
import sys
print("\\n".join(f"line {number}" for number in range(100)))
print("NotImplementedError: no such architecture", file=sys.stderr)
sys.exit(3)
"""
INTERRUPT = """
import os, signal, time
from pathlib import Path
Path("model.F32.gguf").write_bytes(b"half")
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""


def write_script(folder: Path, code: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "convert_hf_to_gguf.py").write_text(code, encoding="utf-8")
    return find_script(folder)


@pytest.fixture()
def unknown(model_copy: Path) -> Path:
    edit_json(model_copy / "config.json", architectures=[UNKNOWN])
    return model_copy


def test_an_unknown_architecture_is_refused_before_its_weights_are_opened(unknown: Path) -> None:
    (unknown / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ModelError, match=rf"'{UNKNOWN}'.*edgetool export --converter PATH"):
        check_exportable(unknown)


def test_the_script_gets_the_merged_model_and_its_file_is_quantized(
    unknown: Path, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    script, out = write_script(tmp_path / "llama.cpp", CONVERT), tmp_path / "out"
    files, mismatches = export_converted(
        script, unknown, adapter, out, ["Q4_K_M", "F32"], merge_into="base"
    )
    assert [file.path.name for file in files] == ["model.Q4_K_M.gguf", "model.F32.gguf"]
    assert mismatches == []
    export_gguf(tiny_model, adapter, tmp_path / "ours", ["Q4_K_M", "F32"], merge_into="base")
    for file in files:
        assert read_tensors(file.path) == read_tensors(tmp_path / "ours" / file.path.name)
    names = ["model.F32.gguf", "model.Q4_K_M.gguf", "receipt.json"]
    assert sorted(path.name for path in out.iterdir()) == names  # the staging folder is gone
    receipt = json.loads((out / "receipt.json").read_text())
    assert receipt["converter"] == {"path": str(script), "sha256": sha256_of(script)}
    assert receipt["files"][0]["sha256"] == sha256_of(out / "model.Q4_K_M.gguf")
    assert receipt["source"]["merge_into"] == "base"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (FAIL, r"(?s)exit code 3.*line 99\nNotImplementedError: no such architecture$"),
        ("import no_such_thing", "pip install no_such_thing$"),
        ("print('done')", r"it wrote no file\):\ndone$"),
        ("open('model.F32.gguf', 'wb').write(b'GGUF' + bytes(9))", "damaged or cut short"),
    ],
    ids=["fails", "lacks a package", "writes nothing", "writes half a file"],
)
def test_a_script_that_fails_is_told_and_leaves_what_was_there(
    unknown: Path, tmp_path: Path, code: str, said: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.Q8_0.gguf").write_text("earlier")
    script = write_script(tmp_path / "llama.cpp", code)
    with pytest.raises((EngineError, ModelError), match=said) as caught:
        export_converted(script, unknown, None, out, ["Q8_0"], merge_into="base")
    assert "line 50" not in str(caught.value)  # the last lines, not all of them
    assert [path.name for path in out.iterdir()] == ["model.Q8_0.gguf"]
    assert (out / "model.Q8_0.gguf").read_text() == "earlier"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where a shell started the tests in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_script_and_leaves_nothing(unknown: Path, tmp_path: Path) -> None:
    script, out = write_script(tmp_path / "llama.cpp", INTERRUPT), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export_converted(script, unknown, None, out, ["Q8_0"], merge_into="base")
    assert list(out.iterdir()) == []


def test_layers_nobody_knows_are_not_merged_into_nf4(
    unknown: Path, adapter: Path, tmp_path: Path
) -> None:
    script, out = write_script(tmp_path / "llama.cpp", CONVERT), tmp_path / "out"
    with pytest.raises(ModelError, match="--merge-into base"):
        export_converted(script, unknown, adapter, out, ["Q8_0"], merge_into="nf4")
    assert not out.exists()


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_folder_without_the_script_is_answered_with_what_to_name(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(UsageError, match=r"convert_hf_to_gguf\.py there; name the folder"):
        find_script(tmp_path / path)


QWEN_TOKENS, QWEN_ROWS = 151665, 151936
CROSSED: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", {}),
    "mistral": USUAL["mistral"],
    "granite": USUAL["granite"],
    "smollm3": USUAL["smollm3"],
    # the script drops rows of Gemma's embedding that no token has: here there are none
    "gemma3": (
        "Gemma3",
        GEMMA | {"layer_types": None, "num_hidden_layers": 7, "vocab_size": QWEN_TOKENS},
    ),
    "phi3": ("Phi3", {}),
}
# Keys that only one of the two writes, and what files are called after.
OWN = ("general.", "GGUF.", "tokenizer.", "quantize.")
# Phi-3's window of 0 and original context: what llama.cpp takes without them
DEFAULTS = (".sliding_window", ".scaling.original_context_length")
SAID_ANYWAY = (".vocab_size", ".key_length", ".value_length", ".sliding_window_pattern",
               ".freq_base_swa", ".dimension_count")  # fmt: skip


@pytest.fixture(scope="module")
def qwen_tokenizer(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published one: the script knows no others."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    AutoTokenizer.from_pretrained(shared / "fixtures" / "qwen2.5-tokenizer").save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", list(CROSSED))
def test_llama_cpps_own_script_says_what_edgetool_says(
    make_model: Folder, qwen_tokenizer: Path, tmp_path: Path, family: str
) -> None:
    """The same tensors, and the same value under every key that both write."""
    checkout = os.environ.get("EDGETOOL_LLAMA_CPP")
    if not checkout or find_spec("sentencepiece") is None:
        pytest.skip("set EDGETOOL_LLAMA_CPP to a llama.cpp checkout, and install sentencepiece")
    name, changes = CROSSED[family]
    model = make_model(name, **({"vocab_size": QWEN_ROWS} | changes))
    shutil.copytree(qwen_tokenizer, model, dirs_exist_ok=True)
    if family == "phi3":  # how the script tells Phi-4's tokenizer from a SentencePiece model
        edit_json(model / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    script = find_script(Path(checkout))
    (theirs,), other = export_converted(
        script, model, None, tmp_path / "theirs", ["F32"], merge_into="base"
    )
    (ours,) = export_gguf(model, None, tmp_path / "ours", ["F32"])
    assert other == []
    assert read_tensors(ours.path) == read_tensors(theirs.path)
    said, expected = (inspect_gguf(file.path).metadata for file in (ours, theirs))
    expected = {key: value for key, value in expected.items() if not key.startswith(OWN)}
    both = said.keys() & expected.keys()
    assert {key: said[key] for key in both} == {key: expected[key] for key in both}
    assert not [key for key in expected.keys() - both if not key.endswith(DEFAULTS)]
    alone = [key for key in said.keys() - expected.keys() if not key.startswith(OWN)]
    assert all(key.endswith(SAID_ANYWAY) for key in alone)


def test_the_script_gets_the_template_that_shows_the_tools(unknown: Path, tmp_path: Path) -> None:
    edit_json(unknown / "tokenizer_config.json", chat_template=WITHOUT_TOOLS["smollm2"][1])
    seen = "assert '<tool_call>' in (Path(model) / 'chat_template.jinja').read_text()\n"
    code = CONVERT.replace("copy = Path(", f"{seen}copy = Path(")
    script = write_script(tmp_path / "llama.cpp", code)
    files, _ = export_converted(script, unknown, None, tmp_path / "out", ["F16"], merge_into="base")
    assert "<tool_call>" in str(inspect_gguf(files[0].path).template)
