"""What a model must be like to be trained here; said before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetool.errors import ModelError

# Full attention in every layer, and nothing between hidden states and logits but one matrix and, in
# Granite, one factor.
ARCHITECTURES = (
    "GraniteForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)


def load_config(model: str) -> Any:
    """The checked configuration of a model folder or hub id.

    Raises ModelError for a folder without config.json or safetensors, for an architecture outside
    ARCHITECTURES, for sliding-window layers and for soft-capped logits.
    """
    from transformers import AutoConfig

    _check_folder(Path(model))
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{model}: cannot read its configuration: {reason}") from error
    check_config(config, model)
    return config


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        return  # a hub id
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json; expected a transformers model folder")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no .safetensors file; other weight formats can run code when they are "
            "opened, so convert the model with save_pretrained(..., safe_serialization=True)"
        )


def check_config(config: Any, model: str) -> None:
    """Raise ModelError, naming the reason, when the architecture cannot be trained exactly."""
    named = (config.architectures or ["none"])[0]
    if named not in ARCHITECTURES:
        raise ModelError(
            f"{model}: architecture {named} is not supported; supported: {', '.join(ARCHITECTURES)}"
        )
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds != {"full_attention"} or (window and getattr(config, "use_sliding_window", True)):
        raise ModelError(
            f"{model}: {named} with {', '.join(sorted(kinds))} layers and sliding_window = {window}"
            " is not supported; only full attention is"
        )
    if getattr(config, "final_logit_softcapping", None):
        raise ModelError(f"{model}: soft-capped logits are not supported")
