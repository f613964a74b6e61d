"""One table: what can be trained is what can be sized and exported."""

from __future__ import annotations

from typing import Any

import pytest

from edgetool import catalogue
from edgetool.architectures import ARCHITECTURES, check_config, exact_context, layer_windows
from edgetool.commands.models import obstacle
from edgetool.errors import ModelError
from edgetool.export.shape import read_shape
from edgetool.train.memory.model_shape import Shape


def config(model_type: str, architecture: str, **settings: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, architectures=[architecture], **settings)


WINDOW = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}
MIXED = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.parametrize(
    ("model_type", "architecture", "settings", "windows"),
    [
        ("llama", "LlamaForCausalLM", {}, {"full_attention": None}),
        ("qwen3", "Qwen3ForCausalLM", {}, {"full_attention": None}),
        ("qwen2", "Qwen2ForCausalLM", WINDOW, {"full_attention": None, "sliding_attention": 32}),
        ("mistral", "MistralForCausalLM", {"sliding_window": None}, {"full_attention": None}),
        ("mistral", "MistralForCausalLM", {"sliding_window": 8}, {"sliding_attention": 8}),
        ("phi3", "Phi3ForCausalLM", {}, {"full_attention": None}),
        (
            "gemma3_text",
            "Gemma3ForCausalLM",
            {"sliding_window": 512},
            {"sliding_attention": 512, "full_attention": None},
        ),
    ],
)
def test_what_each_layer_type_sees(
    model_type: str, architecture: str, settings: dict[str, Any], windows: dict[str, int | None]
) -> None:
    known = config(model_type, architecture, **settings)
    check_config(known, "model")
    assert layer_windows(known) == windows


@pytest.mark.parametrize(
    ("model_type", "architecture", "settings", "layers"),
    [
        ("qwen3_next", "Qwen3NextForCausalLM", {}, "linear_attention"),
        ("qwen3_5", "Qwen3_5ForConditionalGeneration", {}, "linear_attention"),
        (
            "lfm2",
            "Lfm2ForCausalLM",
            {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
            "conv",
        ),
        ("granitemoehybrid", "GraniteMoeHybridForCausalLM", {}, "linear_attention"),
        ("falcon_h1", "FalconH1ForCausalLM", {}, "hybrid"),
        ("mamba", "MambaForCausalLM", {}, "linear_attention"),
        ("mamba2", "Mamba2ForCausalLM", {}, "linear_attention"),
        ("bamba", "BambaForCausalLM", {"attn_layer_indices": [9]}, "linear_attention"),
        ("jamba", "JambaForCausalLM", {}, "linear_attention"),
        ("recurrent_gemma", "RecurrentGemmaForCausalLM", {}, "linear_attention"),
        ("zamba2", "Zamba2ForCausalLM", {}, "hybrid and linear_attention"),
    ],
)
def test_layers_with_a_running_state_are_refused_with_the_reason(
    model_type: str, architecture: str, settings: dict[str, Any], layers: str
) -> None:
    said = f"^model: architecture {architecture} is not supported, because its {layers} layers"
    with pytest.raises(ModelError, match=said):
        check_config(config(model_type, architecture, **settings), "model")


@pytest.mark.parametrize(
    ("model_type", "architecture", "settings", "said"),
    [
        ("gemma2", "Gemma2ForCausalLM", {}, "Gemma2ForCausalLM is not supported; supported"),
        ("gemma3_text", "Gemma3ForCausalLM", {"final_logit_softcapping": 30.0}, "final_.* = 30.0"),
        ("gemma3_text", "Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "attn_.* = 50.0"),
        (
            "gemma3_text",
            "Gemma3ForCausalLM",
            {"use_bidirectional_attention": True},
            "use_bidirectional_attention = True",
        ),
        # transformers follows neither of these two
        ("llama", "LlamaForCausalLM", {"sliding_window": 32}, "sliding_window = 32"),
        ("qwen2", "Qwen2ForCausalLM", MIXED, "full_attention, sliding_attention layers"),
    ],
)
def test_what_would_not_be_exact_is_refused_by_name(
    model_type: str, architecture: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        check_config(config(model_type, architecture, **settings), "model")


def test_longrope_is_exact_up_to_the_original_context_only() -> None:
    factors = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, **factors}
    longer = {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096}
    assert exact_context(config("phi3", "Phi3ForCausalLM", rope_parameters=rope, **longer)) == 4096
    assert exact_context(config("phi3", "Phi3ForCausalLM", max_position_embeddings=2048)) == 2048
    windows = config("gemma3_text", "Gemma3ForCausalLM", max_position_embeddings=8192)
    assert exact_context(windows) == 8192


# transformers' name -> its model type
MODEL_TYPES = {
    "Gemma3ForCausalLM": "gemma3_text",
    "GraniteForCausalLM": "granite",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Phi3ForCausalLM": "phi3",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "SmolLM3ForCausalLM": "smollm3",
}


def test_the_table_has_a_row_for_each_architecture_that_is_tried_below() -> None:
    assert set(ARCHITECTURES) == set(MODEL_TYPES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_of_the_table_trains_is_sized_and_becomes_gguf(architecture: str) -> None:
    # Mistral's windows train, but llama.cpp's graph has none
    window = {"sliding_window": None} if architecture == "MistralForCausalLM" else {}
    known = config(MODEL_TYPES[architecture], architecture, **window)
    check_config(known, "model")
    values = known.to_dict()
    assert Shape.of(values, "model").layers == known.num_hidden_layers
    made = read_shape(values, ARCHITECTURES[architecture], "model")
    assert made.block_count == known.num_hidden_layers


def test_every_card_of_a_known_architecture_can_be_trained() -> None:
    """A card's shape is what config.json says: the export reads it and refuses nothing."""
    why = {card.name: obstacle(card) for card in catalogue.cards() if card.refused is None}
    blocked = {name: reason for name, reason in why.items() if reason is not None}
    hybrid = "the trainer does not know GraniteMoeHybridForCausalLM"
    assert blocked == {"Granite-4.0-350m": hybrid, "Granite-4.0-Micro": hybrid}
