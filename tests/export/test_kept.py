"""How much of an adapter's change is left in a quantized sum."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from edgetool.export.export import export_gguf
from edgetool.export.gguf import ggml
from edgetool.export.gguf.quantize import quant_like
from edgetool.export.gguf.writer import Kept
from edgetool.export.safetensors_io import Floats
from edgetool.gguf_base.reader import read_gguf

# Q4_1 has 16 steps between the least and the largest value of 32: here steps of exactly 1
STORED = np.tile(np.arange(16, dtype=np.float32), 2).reshape(1, 32)
# nothing at the ends, so that the steps stay where they are
CHANGE = np.where((STORED > 0) & (STORED < 15), np.float32(0.125), np.float32(0.0))


def share(kind: str, change: Floats) -> float | None:
    kept = Kept()
    merged = STORED + change
    kept.add(merged, ggml.dequantize(ggml.quantize(merged, kind), kind), change)
    return kept.share


def test_steps_larger_than_the_change_swallow_it() -> None:
    assert share("Q4_1", CHANGE) == 0.0


def test_steps_smaller_than_the_change_keep_it() -> None:
    assert share("F32", CHANGE) == share("F16", CHANGE) == 1.0
    step = 15 / 127  # Q8_0's here, a little less than the change
    left = np.round((STORED + CHANGE) / step) * step - STORED
    expected = (left * CHANGE).sum() / (CHANGE**2).sum()
    assert share("Q8_0", CHANGE) == pytest.approx(expected, abs=0.02)  # its step is a float16
    assert expected == pytest.approx(1.0, abs=0.1)


def test_tensors_count_by_the_square_of_their_change() -> None:
    kept = Kept()
    one, three = np.ones((1, 2), np.float32), np.full((1, 2), 3.0, np.float32)
    kept.add(one, one, one)  # whole: 2 of 2
    kept.add(three, np.zeros_like(three), three)  # lost: 0 of 18
    assert kept.share == 2 / 20


def test_no_change_has_no_share() -> None:
    assert Kept().share is None


@pytest.fixture(scope="module")
def faint_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA that moves each weight by much less than a 4-bit step."""
    folder = tmp_path_factory.mktemp("faint")
    torch.manual_seed(3)
    config = LoraConfig(r=2, lora_alpha=0.02, target_modules="all-linear", init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(base, config).save_pretrained(folder)
    return folder


def test_a_receipt_says_what_each_merged_file_keeps(
    tiny_model: Path, faint_adapter: Path, tmp_path: Path
) -> None:
    (base,) = export_gguf(tiny_model, None, tmp_path / "base", ["Q4_0"])
    assert base.adapter_kept is None
    own = quant_like(read_gguf(base.path))
    files = export_gguf(
        base.path, faint_adapter, tmp_path / "merged", [own, "Q8_0", "F16"], merge_into="base"
    )
    kept = [file.adapter_kept or 0.0 for file in files]
    assert kept[0] < 0.5 < kept[1]
    assert kept[2] == pytest.approx(1.0, abs=0.02)
    receipt = json.loads((tmp_path / "merged" / "receipt.json").read_text())
    assert [file["adapter_kept"] for file in receipt["files"]] == kept
