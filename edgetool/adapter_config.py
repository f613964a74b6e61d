"""What peft's adapter_config.json says, and whether its adapter is a plain LoRA.

A plain LoRA computes W + scale * B A with the base's own W. peft has settings that change W before
training, the sum, or what else was trained. Whoever adds B A to the stored base with one of them
gets another model, so an adapter that has one set is refused by name, and so is one that has a
setting set that this table does not know. The fields are those of peft's LoraConfig 0.21.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.errors import ModelError
from edgetool.files import read_json_object

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DEFAULTS: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 8,
    "use_rslora": False,
}  # peft's, for a key that is not there

# Where the matrices begin, while W stays what it was. Others split W or quantize it first.
PLAIN_INITS = ("gaussian", "orthogonal", "eva", "mica")
CHANGED_BASE = ("pissa", "olora", "corda")  # peft can save these as what they add to W
HONOURED = (*DEFAULTS, "peft_type", "init_lora_weights")

# They say where the matrices are, which their names say too, how training went, or something that
# peft reads only beside a setting that is refused.
HARMLESS = (
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules",
    "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout",
    "lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config", "target_modules", "task_type",
)  # fmt: skip

# Settings that change what an adapter computes, each with the value that leaves it a plain LoRA.
REFUSED: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "bias": "none",
    "ensure_weight_tying": False,
    "fan_in_fan_out": False,
    "kasa_config": None,
    "layer_replication": None,
    "lora_bias": False,
    "megatron_config": None,
    "modules_to_save": None,
    "monteclora_config": None,
    "rank_pattern": {},
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "velora_config": None,
}


@dataclass(frozen=True)
class LoraNumbers:
    """What scales B A."""

    r: int
    lora_alpha: float
    use_rslora: bool

    @property
    def scale(self) -> float:
        """lora_alpha / r; rank-stabilised LoRA (arXiv:2312.03732) divides by sqrt(r)."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter_config.json of a plain LoRA.

    Raises ModelError when there is none, when it is damaged and when it is more than plain LoRA.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f"{folder}: no {CONFIG}; name the adapter folder that training wrote")
    config = read_json_object(file)
    require_plain(config, folder)
    return config


def require_plain(config: Mapping[str, Any], where: Path) -> None:
    """Raises ModelError naming the setting that makes an adapter more than a plain LoRA."""
    if (kind := config.get("peft_type")) != "LORA":
        raise ModelError(f"{where}: adapter type '{kind}' is not supported; supported: LORA")
    _require_plain_init(config.get("init_lora_weights", True), where)
    for key, value in config.items():
        plain = REFUSED.get(key)
        if key in HONOURED or key in HARMLESS or not value or value == plain:
            continue
        if key in REFUSED:
            why = f"which is more than a plain LoRA; train with {key} = {plain!r}"
        else:
            why = "which is not known here and may change what the adapter computes; leave it out"
        raise ModelError(f"{where}: {CONFIG} has {key} = {value!r}, {why}")
    numbers_of(config, where)


def _require_plain_init(init: Any, where: Path) -> None:
    if not init or init is True or str(init).lower() in PLAIN_INITS:
        return
    remedy = "train with init_lora_weights = True"
    if str(init).lower().startswith(CHANGED_BASE):
        remedy = (
            "save it as a plain LoRA with peft: model.save_pretrained(FOLDER, "
            "path_initial_model_for_weight_conversion=ADAPTER_BEFORE_TRAINING)"
        )
    raise ModelError(
        f"{where}: {CONFIG} has init_lora_weights = {init!r}, which changes the base's weights "
        f"before training; {remedy}"
    )


def numbers_of(config: Mapping[str, Any], where: Path) -> LoraNumbers:
    """r, lora_alpha and use_rslora, peft's defaults for those that are not there.

    Raises ModelError for values that are no such numbers.
    """
    found = {key: config.get(key, default) for key, default in DEFAULTS.items()}
    r, alpha, stabilised = found["r"], found["lora_alpha"], found["use_rslora"]
    valid = {
        "r": type(r) is int and r > 0,
        "lora_alpha": type(alpha) in (int, float) and math.isfinite(alpha),
        "use_rslora": stabilised in (True, False, None),
    }
    for key in (key for key, good in valid.items() if not good):
        raise ModelError(
            f"{where}: {CONFIG} has {key} = {found[key]!r}; peft's default is {DEFAULTS[key]}"
        )
    return LoraNumbers(r, float(alpha), bool(stabilised))
