"""One step of an export, ours or the usual way's. A child of export.py.

export_side.py make    BASE ADAPTER TOKENIZER '{"model_type": "qwen2", ...}'
export_side.py ours    BASE ADAPTER OUT QUANT MERGE_INTO
export_side.py merge   BASE ADAPTER OUT
export_side.py quantize F16_GGUF OUT QUANT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def make(base: str, adapter: str, tokenizer: str, shape: str) -> None:
    """A model with random weights and a random LoRA on every linear layer of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(tokenizer)
    config = AutoConfig.for_model(**json.loads(shape), eos_token_id=words.eos_token_id)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    print(f"{base}: {model.num_parameters():,} parameters", file=sys.stderr)
    model.save_pretrained(base)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(adapter)
    words.save_pretrained(base)  # last: with it the folder is whole


def ours(base: str, adapter: str, out: str, quant: str, merge_into: str) -> None:
    from edgetool.export.export import export_gguf

    export_gguf(Path(base), Path(adapter), Path(out), [quant], merge_into=merge_into)


def merge(base: str, adapter: str, out: str) -> None:
    """As peft's documentation does it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)


def quantize(source: str, out: str, quant: str) -> None:
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()  # every core
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant}")
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), settings):
        sys.exit(f"llama_model_quantize failed on {source}")


if __name__ == "__main__":
    {"make": make, "ours": ours, "merge": merge, "quantize": quantize}[sys.argv[1]](*sys.argv[2:])
