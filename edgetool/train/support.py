"""What a model must be like to be trained here; said before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetool.errors import ModelError

# Nothing between hidden states and logits but one matrix and, in Granite, one factor; attention to
# all earlier tokens, or in the second list, where a configuration says so, to a window of them.
FULL_ATTENTION = ("GraniteForCausalLM", "LlamaForCausalLM")
SLIDING_WINDOW = (
    "Gemma3ForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)
ARCHITECTURES = tuple(sorted(FULL_ATTENTION + SLIDING_WINDOW))
# transformers' names for layers that carry a running state from token to token.
STATEFUL = {"conv", "hybrid", "linear_attention", "mamba", "recurrent"}
# Settings that change attention or logits in ways nothing here follows.
REFUSED = ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention")


def load_config(model: str) -> Any:
    """The checked configuration of a model folder or hub id.

    Raises ModelError for a folder without config.json or safetensors, for an architecture outside
    ARCHITECTURES, for layers it does not have and for soft-capped scores or logits.
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


def layer_windows(config: Any) -> dict[str, int | None]:
    """Which layer types a model has, and how many tokens each of them sees, its own included.

    None is all of them. A model that names no types has one, full attention or (Mistral) the other.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    kinds = kinds or ["sliding_attention" if window else "full_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}


def exact_context(config: Any) -> int:
    """Most tokens of prompt and completion together.

    With longrope transformers turns positions by the length of the longest row it is shown: only
    within the original context is a row the same alone, beside others and while it is written.
    """
    context = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return context
    return min(context, int(rope["original_max_position_embeddings"]))


def check_config(config: Any, model: str) -> None:
    """Raise ModelError, naming the reason, when the architecture cannot be trained exactly."""
    named = (config.architectures or ["none"])[0]
    windows = layer_windows(getattr(config, "text_config", config))
    if named not in ARCHITECTURES:
        raise ModelError(
            f"{model}: architecture {named} is not supported{_reason(windows)}; "
            f"supported: {', '.join(ARCHITECTURES)}"
        )
    slides = "sliding_attention" in windows
    used = windows.get("sliding_attention") and getattr(config, "use_sliding_window", True)
    unknown = windows.keys() - {"full_attention", "sliding_attention"}
    if unknown or (slides and (named not in SLIDING_WINDOW or not used)):
        raise ModelError(
            f"{model}: {named} with {', '.join(sorted(windows))} layers and sliding_window = "
            f"{getattr(config, 'sliding_window', None)} is not supported"
        )
    for name in REFUSED:
        if getattr(config, name, None):
            raise ModelError(f"{model}: {name} = {getattr(config, name)} is not supported")


def _reason(windows: dict[str, int | None]) -> str:
    stateful = sorted(STATEFUL & windows.keys())
    if not stateful:
        return ""
    return (
        f", because its {' and '.join(stateful)} layers (linear attention, state space or "
        "convolution) fold a prompt into one running state, and completions can share only a "
        "prompt's keys and values"
    )
