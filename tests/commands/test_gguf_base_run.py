"""A run on a GGUF file: trained, shipped beside it or merged, and kept from other bases."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from edgetool.calls.types import Example
from edgetool.commands.export import ExportOptions, _say_swallowed, run_export
from edgetool.commands.merge import run_merge
from edgetool.commands.sft import run_sft
from edgetool.commands.targets import gguf_of, open_runtimes
from edgetool.config import build_config
from edgetool.data.rows import write_rows
from edgetool.errors import ModelError, UsageError
from edgetool.export.export import export_gguf
from edgetool.export.gguf.quantize import quant_like
from edgetool.export.receipt import ExportedFile
from edgetool.fidelity.survey import Subject
from edgetool.files import sha256_of
from edgetool.gguf_base.adapter import require_base
from edgetool.gguf_base.reader import read_gguf
from edgetool.run_folder import RunFolder, open_policy
from tests.commands.conftest import NANO, Said


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return export_gguf(NANO, None, folder, ["Q4_K_M"], stem="nano")[0].path


@pytest.fixture
def gguf_run(run: Path, base: Path) -> Path:
    """The finished run on nano, as if it had been trained on nano's file."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": str(base)}))
    facts = json.loads((run / "run.json").read_text())
    facts |= {"base": str(base), "base_sha256": sha256_of(base)}
    (run / "run.json").write_text(json.dumps(facts))
    return run


def steps_of(file: Path) -> list[str]:
    return [step["step"] for step in json.loads(file.read_text())["measured"]]


@pytest.mark.slow
def test_an_export_leaves_the_base_alone_and_puts_an_adapter_beside_it(
    gguf_run: Path, base: Path, console: Said
) -> None:
    before = sha256_of(base)
    (file,) = run_export(str(gguf_run), ExportOptions(rows=6), console)
    assert file.path == gguf_run / "adapter.gguf" and sha256_of(base) == before
    assert [path.name for path in gguf_run.glob("*.gguf")] == ["adapter.gguf"]
    receipt = json.loads((gguf_run / "adapter.receipt.json").read_text())
    assert receipt["source"]["base"]["files"][base.name]["sha256"] == before
    adapter, beside = receipt["measured"]
    assert (adapter["step"], beside["step"]) == ("adapter", "base + adapter")
    assert beside["prompt_parity"] == 1.0
    # the same weights: what is left is llama.cpp's rounding of activations to 8 bits
    assert beside["kl_mean"] < 0.01
    fields = read_gguf(file.path).fields
    assert fields["edgetool.base.sha256"] == before
    assert fields["edgetool.base.file"] == base.name
    assert f"edgetool serve {base} --adapter {file.path}" in console.text


@pytest.mark.slow
def test_a_merged_file_has_the_bases_types_and_the_receipt_says_which_to_ship(
    gguf_run: Path, base: Path, console: Said
) -> None:
    (file,) = run_export(str(gguf_run), ExportOptions(rows=6, merged=True), console)
    assert file.path == gguf_run / "model.Q4_K_M.gguf"
    kinds = [{n: t.kind for n, t in read_gguf(f).tensors.items()} for f in (file.path, base)]
    assert kinds[0] == kinds[1]
    receipt = json.loads((gguf_run / "receipt.json").read_text())
    assert steps_of(gguf_run / "receipt.json") == ["adapter", "base + adapter", "Q4_K_M"]
    assert receipt["ship"]["chosen"] in ("base + adapter", "Q4_K_M")
    assert f"ship {receipt['ship']['chosen']}" in console.text
    kept = receipt["files"][0]["adapter_kept"]
    assert kept == file.adapter_kept and (kept < 0.5) == ("of the adapter's change" in console.text)


def test_a_merged_file_that_lost_the_adapter_says_what_to_type(
    gguf_run: Path, tmp_path: Path, console: Said
) -> None:
    subject = Subject.of_run(RunFolder(gguf_run))
    files = [
        ExportedFile(tmp_path / f"model.{quant}.gguf", quant, 1, "", {}, adapter_kept=kept)
        for quant, kept in (("Q4_1", 0.06), ("Q8_0", 0.97), ("F16", None))
    ]
    _say_swallowed(files, subject, console)
    (said,) = console.text.splitlines()
    assert said.startswith("model.Q4_1.gguf keeps 6% of the adapter's change")
    assert f"edgetool export {gguf_run}; or" in said
    assert said.endswith(f"edgetool export {gguf_run} --quant Q8_0")


def test_a_file_quantized_like_another_has_its_types(base: Path) -> None:
    found = quant_like(read_gguf(base))
    assert (found.name, found.file_type) == ("Q4_K_M", 15)
    assert found.types == {name: tensor.kind for name, tensor in read_gguf(base).tensors.items()}


def test_two_steps_on_a_file_know_it_by_its_hash(
    base: Path, tmp_path: Path, rows: Sequence[Example], console: Said
) -> None:
    write_rows(tmp_path / "train.jsonl", rows)
    values: dict[str, Any] = {
        "model": str(base), "output_dir": str(tmp_path / "my"),
        "data": {"train": str(tmp_path / "train.jsonl")},
        "sft": {"max_steps": 2, "per_device_train_batch_size": 1},
    }  # fmt: skip
    run_sft(build_config(values, "test"), console)
    run = RunFolder(tmp_path / "my")
    assert run.facts["base_sha256"] == sha256_of(base)
    policy = open_policy(run, trained=True)
    assert policy.name == str(base) and policy.adapter is not None


def other_file(base: Path, target: Path) -> Path:
    """The same model under the same keys, with one bit changed."""
    content = bytearray(base.read_bytes())
    content[-100] ^= 1
    target.write_bytes(content)
    return target


def test_a_base_that_was_replaced_is_refused_with_both_hashes(
    gguf_run: Path, base: Path, tmp_path: Path
) -> None:
    facts = json.loads((gguf_run / "run.json").read_text())
    facts["base"] = str(other_file(base, tmp_path / base.name))
    (gguf_run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=rf"{sha256_of(base)[:12]}.*{base.name}.*give that file"):
        open_policy(RunFolder(gguf_run), trained=True)


def test_an_adapters_file_beside_another_base_is_refused(
    gguf_run: Path, base: Path, tmp_path: Path, console: Said
) -> None:
    (file,) = run_export(str(gguf_run), ExportOptions(rows=0), console)
    require_base(file.path, base)
    other = other_file(base, tmp_path / "other.gguf")
    with pytest.raises(ModelError, match=rf"trained on {base.name}.*other.gguf is other.gguf"):
        require_base(file.path, other)


def test_an_adapter_that_names_no_base_is_held_to_its_shapes(
    run: Path, base: Path, tmp_path: Path, tiny_model: Path, console: Said
) -> None:
    # trained on a folder: any file of that model will do
    (file,) = run_export(str(run), ExportOptions(rows=0, adapter_only=True), console)
    require_base(file.path, base)
    (other,) = export_gguf(tiny_model, None, tmp_path, ["Q8_0"])
    with pytest.raises(
        ModelError, match=r"adapter.gguf: changes blk.2.*model.Q8_0.gguf has no such"
    ):
        require_base(file.path, other.path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ExportOptions(ollama=True), "--ollama is about whole models.*add --merged"),
        (ExportOptions(merge_into="nf4"), "--merge-into is about whole models"),
        (ExportOptions(merge_into="nf4", merged=True), "never rounded to NF4"),
        (ExportOptions(merged=True, adapter_only=True), "leave it out with --adapter-only"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    gguf_run: Path, console: Said, options: ExportOptions, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run_export(str(gguf_run), options, console)


def test_merged_is_for_runs_on_a_file(run: Path, console: Said) -> None:
    with pytest.raises(UsageError, match="--merged is for a run on a GGUF file"):
        run_export(str(run), ExportOptions(merged=True), console)


def test_a_file_becomes_another_quantization_when_it_is_named(
    base: Path, tmp_path: Path, console: Said
) -> None:
    with pytest.raises(UsageError, match="GGUF file already; name another --quant"):
        run_export(str(base), ExportOptions(out=tmp_path), console)
    (file,) = run_export(str(base), ExportOptions(out=tmp_path, quants=["Q8_0"]), console)
    assert read_gguf(file.path).tensors["blk.0.ffn_up.weight"].kind == "Q8_0"


def test_a_run_on_a_file_merges_into_a_folder_that_computes_the_same(
    gguf_run: Path, console: Said
) -> None:
    folder = run_merge(gguf_run, None, None, console)
    prompt = torch.tensor([[5, 80, 7, 200, 31]])
    found = []
    for target in (gguf_run, folder):
        (held,) = open_runtimes(str(target), base=False, model=None)
        policy: Any = held.runtime
        with policy.policy.decoding() as network:
            found.append(network.logits(network.hidden(prompt).last_hidden_state).float())
    assert (found[0] - found[1]).abs().max() < 0.02 * found[0].abs().max()  # float16 on disk


def test_a_folder_with_an_adapter_alone_says_what_goes_with_it(
    gguf_run: Path, console: Said
) -> None:
    run_export(str(gguf_run), ExportOptions(rows=0), console)
    with pytest.raises(UsageError, match=r"goes beside its base.*--adapter"):
        gguf_of(str(gguf_run))


def test_init_and_plan_take_a_file(base: Path, tmp_path: Path, console: Said) -> None:
    from edgetool.commands.init import run_init
    from edgetool.commands.plan import run_plan

    run_init(tmp_path / "my.yaml", console, model=str(base))
    assert yaml.safe_load((tmp_path / "my.yaml").read_text())["model"] == str(base)
    run_plan(str(base), 4, console)
    assert "weights, packed as in the file" in console.text


def test_a_dry_run_of_a_file_makes_prompts_and_finds_what_stands_in_the_way(
    base: Path, tmp_path: Path, rows: Sequence[Example], console: Said
) -> None:
    from edgetool.commands.dry_run import run_dry

    write_rows(tmp_path / "train.jsonl", rows)
    values: dict[str, Any] = {
        "model": str(base), "output_dir": str(tmp_path / "my"),
        "data": {"train": str(tmp_path / "train.jsonl")}, "rewards": {"paper": 1.0},
    }  # fmt: skip
    run_dry(build_config(values, "test"), console)
    assert "the prompt:" in console.text and "weights, expanded" in console.text
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(base.read_bytes()[:200_000])
    with pytest.raises(ModelError, match=r"cut.gguf: damaged or cut short"):
        run_dry(build_config(values | {"model": str(cut)}, "test"), console)


def test_unsloth_trains_on_no_file(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetool.train import unsloth
    from edgetool.train.load import LoadSettings
    from edgetool.train.settings import LoraSettings

    monkeypatch.setattr(unsloth, "require", lambda: None)
    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=0))
    with pytest.raises(UsageError, match="Unsloth trains on no GGUF file"):
        unsloth.load_policy(base, LoraSettings(), LoadSettings())
