"""nano as it is, and a run with an adapter on it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edgetool.calls.types import Example
from edgetool.data import demo
from tests.conftest import ROOT

NANO = ROOT / "models" / "nano"


@pytest.fixture(scope="session")
def rows() -> Sequence[Example]:
    return demo.examples("validation", 8)


@pytest.fixture(scope="session")
def nano_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random LoRA: nano still calls, but otherwise than before."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("nano_adapter")
    torch.manual_seed(7)
    config = LoraConfig(r=2, lora_alpha=1, target_modules="all-linear", init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(NANO, dtype="float32")
    get_peft_model(base, config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(nano_adapter: Path, tmp_path: Path) -> Path:
    """A finished run on nano, trained on the demo rows."""
    from shutil import copytree

    from edgetool.config import build_config

    folder = tmp_path / "my"
    copytree(nano_adapter, folder / "adapter")
    grpo = {"max_completion_length": 48, "bf16": False}
    config = build_config({"model": "nano", "output_dir": str(folder), "grpo": grpo}, "test")
    (folder / "config.yaml").write_text(config.dump())
    facts = {"base": str(NANO), "policy_dtype": "float32", "verb": "train", "init_adapter": None}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


class Said(Console):
    """A console whose words can be read."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=1000)

    @property
    def text(self) -> str:
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()


@pytest.fixture
def console() -> Said:
    return Said()
