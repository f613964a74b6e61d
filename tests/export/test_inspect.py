"""A GGUF file's own word, taken from whole, cut and mutated files."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest

from edgetool.calls.prompt.template_choice import why_tools_are_hidden
from edgetool.errors import ModelError
from edgetool.export import inspect
from edgetool.export.export import export_gguf
from edgetool.export.inspect import ToolSupport, inspect_gguf


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    return export_gguf(tiny_model, None, folder, ["Q4_K_M"], finetune="music")[0].path


def test_a_file_is_described_whole(exported: Path, tiny_model: Path) -> None:
    found = inspect_gguf(exported)
    assert found.size == exported.stat().st_size
    assert found.metadata["general.architecture"] == "qwen2"
    assert found.metadata["tokenizer.ggml.model"] == "gpt2"
    assert found.metadata["tokenizer.ggml.pre"] == "gpt-2"
    assert found.metadata["tokenizer.ggml.tokens"].endswith(" x string")
    # as the receipt of this model says: 12 Q4_K, 3 Q6_K and 11 vectors
    assert {kind: entry["tensors"] for kind, entry in found.types.items()} == {
        "Q4_K": 12, "Q6_K": 3, "F32": 11,
    }  # fmt: skip
    down = next(tensor for tensor in found.tensors if tensor.name == "blk.0.ffn_down.weight")
    assert (down.type, down.shape) == ("Q4_K", (256, 512))
    assert down.size == 256 * 512 // 256 * 144  # a block of 256 values takes 144 bytes
    template = json.loads((tiny_model / "tokenizer_config.json").read_text())["chat_template"]
    assert found.template == template
    assert found.tools.renders and found.tools.call_syntax == "hermes"


def test_the_description_is_json(exported: Path) -> None:
    again = json.loads(json.dumps(inspect_gguf(exported).as_json(), allow_nan=False))
    assert again["tokenizer"]["pre"] == "gpt-2"
    assert again["tools"] == vars(ToolSupport(True, None, "hermes"))


def test_the_syntax_a_file_names_counts_more_than_its_template(
    tiny_model: Path, tmp_path: Path
) -> None:
    (file,) = export_gguf(tiny_model, None, tmp_path, ["F16"], call_syntax="json")
    assert inspect_gguf(file.path).tools.call_syntax == "json"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ tools[0].function.name }}{{ tools[0].function.parameters | tojson }}", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "name is not in the prompt"),
        ("{{ tools[0].function.name }}", "arguments are not in the prompt"),
        ("{{ raise_exception('no tools') }}", "no tools"),
        ("{% if %}", "cannot render"),
        ("{{ ''.__class__.__mro__ }}", "cannot render"),
    ],
)
def test_whether_tools_render_is_tried_out(template: str, problem: str | None) -> None:
    found = why_tools_are_hidden(template)
    assert (found is None) if problem is None else (found and problem in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}" * 4 + "x" + "{% endfor %}" * 4,
        "{% set x = namespace(s='ab') %}" + "{% set x.s = x.s ~ x.s %}" * 40,
    ],
    ids=["no end", "all memory"],
)
def test_a_template_that_takes_too_much_is_ended(template: str) -> None:
    assert "too much memory" in str(why_tools_are_hidden(template)) or "more than" in str(
        why_tools_are_hidden(template)
    )


def test_a_file_without_template_says_so(shared: Path) -> None:
    found = inspect_gguf(shared / "fixtures" / "stories260k" / "tinyllm.gguf")
    assert (found.tools.renders, found.tools.why) == (False, "no chat template in the file")
    assert found.metadata["tokenizer.ggml.model"] == "llama"
    assert set(found.types) == {"F32"}


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"{}"])
def test_another_file_is_refused_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match="not a GGUF file"):
        inspect_gguf(tmp_path / "x.gguf")


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        inspect_gguf(tmp_path / "x.gguf")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.3, 0.9, 0.999])
def test_a_file_cut_anywhere_is_refused(exported: Path, tmp_path: Path, share: float) -> None:
    whole = exported.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: 4 + int(share * len(whole))])
    with pytest.raises(ModelError, match="damaged or cut short"):
        inspect_gguf(tmp_path / "cut.gguf")


HUGE = 2**60


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<IQQ", 3, HUGE, 0),  # tensors without end
        struct.pack("<IQQ", 3, 0, HUGE),  # keys without end
        struct.pack("<IQQQ", 3, 0, 1, HUGE) + b"key",  # a key without end
        # an array of 2^60 bytes, and one of 2^60 strings
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 0, HUGE),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, HUGE),
        # arrays within arrays, thousands deep
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 9)
        + struct.pack("<IQ", 9, 1) * 9000,
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77),  # an unknown type
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + struct.pack("<IB", 0, 1),  # no UTF-8
        struct.pack("<IQQ", 99, 0, 0),  # a version nobody knows
        # a tensor of 2^64 - 1 rows
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQQIQ", 2, 2**64 - 1, 9, 0, 0),
        # a tensor that lies behind the end of everything
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 9, 0, 2**63),
        # 2^32 - 1 dimensions
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 2**32 - 1),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused_at_once(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "liar.gguf").write_bytes(b"GGUF" + body)
    with pytest.raises(ModelError, match=r"liar\.gguf: damaged or cut short"):
        inspect_gguf(tmp_path / "liar.gguf")


@pytest.mark.parametrize("seed", range(8))
def test_a_mutated_file_is_described_or_refused_but_never_more(
    exported: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty mutations each of the header, where all the structure is."""
    monkeypatch.setattr(inspect, "why_tools_are_hidden", lambda template: None)
    rng = random.Random(seed)
    whole = exported.read_bytes()
    header = whole.index(b"blk.0") + 4000
    refused = 0
    for _ in range(40):
        changed = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4, 32))):
            changed[rng.randrange(4, header)] = rng.choice((0, 1, 9, 127, 255, rng.randrange(256)))
        (tmp_path / "mutated.gguf").write_bytes(changed)
        try:
            json.dumps(inspect_gguf(tmp_path / "mutated.gguf").as_json(), allow_nan=False)
        except ModelError:
            refused += 1
    assert 0 < refused < 40
