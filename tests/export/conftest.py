"""Model folders of every shape the export knows: random weights, real tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Folder = Callable[..., Path]
CONFIGS = {"Gemma3": "Gemma3TextConfig"}  # the others' are called after the family


@pytest.fixture(scope="session")
def make_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Writes a random model of a family (Llama, Gemma3, ...) with tiny_model's tokenizer.

    Keyword arguments change its config. Weights are large enough for attention to look at some
    tokens more than at others, so that a wrongly placed row or rotation shows in the logits.
    """

    def make(family: str, **changes: Any) -> Path:
        import torch
        import transformers

        folder = copy_tokenizer(tiny_model, tmp_path_factory.mktemp(family.lower()))
        shape = small_shape(tiny_model) | {"initializer_range": 0.08} | changes
        named = CONFIGS.get(family, f"{family}Config")
        config = getattr(transformers, named)(**shape)
        torch.manual_seed(1)
        model = getattr(transformers, f"{family}ForCausalLM")(config)
        randomize_vectors(model)
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA on every linear layer of tiny_model, large enough to change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture()
def model_copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of tiny_model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def load_in_nf4(folder: Path) -> Any:
    """The model with bitsandbytes' layers, which compute in float32 on every CPU."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from edgetool.train.load import avoid_inference_kernel

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", quantization_config=nf4)
    avoid_inference_kernel(model)
    return model


def edit_json(file: Path, **changes: Any) -> None:
    """Sets keys of a JSON object file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | changes), encoding="utf-8")


def small_shape(tiny_model: Path) -> dict[str, Any]:
    config = json.loads((tiny_model / "config.json").read_text(encoding="utf-8"))
    kept = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "eos_token_id",
        "pad_token_id", "tie_word_embeddings",
    )  # fmt: skip
    return {key: config[key] for key in kept} | {"bos_token_id": None}


def copy_tokenizer(source: Path, folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    return folder


def randomize_vectors(model: Any) -> None:
    """Norms start as ones and biases as zeros, which would hide a wrong place for them."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
