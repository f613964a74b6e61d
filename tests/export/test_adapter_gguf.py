"""The adapter as a file of its own, beside a base GGUF in llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetool.errors import EngineError, ModelError
from edgetool.export.adapter_gguf import export_adapter
from edgetool.export.export import export_gguf
from edgetool.export.merge import merge
from edgetool.export.parity import compare_logits, llama_logits
from tests.export.conftest import Folder, edit_json

PROMPTS = [list(range(30, 130)), [7], [1, 2, 3, 300, 4]]


def random_adapter(model: Path, folder: Path, **settings: object) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(model)
    options = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear"} | settings
    get_peft_model(base, LoraConfig(**options, init_lora_weights=False)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
def test_base_and_adapter_compute_what_the_merged_model_computes(
    make_model: Folder, tmp_path: Path, family: str
) -> None:
    model = make_model(family)  # Llama: rows of Q and K are reordered, and so are those of B
    adapter = random_adapter(model, tmp_path / "adapter")
    merged = merge(model, adapter, tmp_path / "merged", "base", dtype="float32")
    export_gguf(model, None, tmp_path, ["F32"])
    export_adapter(model, adapter, tmp_path)
    base, lora = tmp_path / "model.F32.gguf", tmp_path / "adapter.gguf"
    fidelity = compare_logits(merged, base, PROMPTS, kv="f32", lora=lora)
    assert fidelity.relative < 2e-5 and fidelity.argmax_agreement == 1.0
    # and it is the adapter that makes them alike
    assert compare_logits(merged, base, PROMPTS, kv="f32").relative > 1e-2


def test_rank_stabilised_scaling_is_kept(make_model: Folder, tmp_path: Path) -> None:
    model = make_model("Qwen2")
    adapter = random_adapter(model, tmp_path / "adapter", use_rslora=True, r=9, lora_alpha=6)
    merged = merge(model, adapter, tmp_path / "merged", "base", dtype="float32")
    export_gguf(model, None, tmp_path, ["F32"])
    lora = export_adapter(model, adapter, tmp_path).path
    fidelity = compare_logits(merged, tmp_path / "model.F32.gguf", PROMPTS, kv="f32", lora=lora)
    assert fidelity.relative < 2e-5
    from gguf import GGUFReader

    # 6 / sqrt(9) = 2 per pair; llama.cpp divides by r = 9, so alpha is 18
    assert GGUFReader(lora).fields["adapter.lora.alpha"].contents() == 18.0


def test_the_file_says_that_it_is_an_adapter(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    from gguf import GGUFReader

    file = export_adapter(tiny_model, adapter, tmp_path, finetune="music")
    fields = {name: field.contents() for name, field in GGUFReader(file.path).fields.items()}
    assert fields["general.type"] == "adapter" and fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == "qwen2"
    assert fields["adapter.lora.alpha"] == 12.0
    assert file.tensor_types == {"F32": 28}  # 7 matrices in 2 layers, A and B each
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.gguf"]


def test_llama_cpp_refuses_it_beside_another_model(
    make_model: Folder, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    export_gguf(make_model("Llama"), None, tmp_path, ["F16"])
    lora = export_adapter(tiny_model, adapter, tmp_path).path
    with pytest.raises(EngineError, match="cannot load"):
        list(llama_logits(tmp_path / "model.F16.gguf", [[1]], lora=lora))


def test_an_adapter_of_another_model_leaves_no_file(
    make_model: Folder, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="merge into the base it was trained on"):
        export_adapter(make_model("Qwen2", intermediate_size=768), adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_plain_lora_is_refused(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    import shutil

    changed = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    edit_json(changed / "adapter_config.json", use_dora=True)
    with pytest.raises(ModelError, match="use_dora"):
        export_adapter(tiny_model, changed, tmp_path / "out")
