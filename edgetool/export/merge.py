"""Base and adapter as one ordinary transformers folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgetool.architectures import find_architecture
from edgetool.errors import UsageError
from edgetool.export.model_folder import CONFIG, TEMPLATE, WEIGHTS, ModelFolder
from edgetool.export.safetensors_io import ITEM_BYTES, STORAGE, write_stream
from edgetool.export.stored import HEAD
from edgetool.export.weights import MERGE_INTO, TrainedWeights
from edgetool.files import building_folder, require_space, writing

# Half the size of float32 and eight times finer than bfloat16, in which small deltas drown.
DTYPE = "float16"
TOKENIZER_CONFIG, IN_CONFIG = "tokenizer_config.json", "chat_template"


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    merge_into: str = MERGE_INTO,
    *,
    policy_dtype: str = "float32",
    dtype: str = DTYPE,
    template: str | None = None,
) -> Path:
    """Writes a folder that transformers loads without peft, and returns it.

    merge_into     nf4 | base, see `TrainedWeights`
    policy_dtype   the dtype the policy computed in
    dtype          float16 | bfloat16 | float32, what the sum is stored as; it is made in float32
    template       the chat template, as `template_choice.choose` is asked for one

    The folder replaces what stood at `out` once it is whole. Raises ModelError for an unusable
    model or adapter or a value beyond `dtype`, EdgetoolError when the disk is too small.
    """
    if dtype not in STORAGE:
        raise UsageError(f"dtype: '{dtype}' is not one of {', '.join(STORAGE)}")
    if out.exists() and not (out / CONFIG).exists():
        raise UsageError(f"{out}: exists and is not a model folder; name another one with --out")
    weights = TrainedWeights.open(base, adapter, merge_into, policy_dtype)
    find_architecture(weights.base.config, base)
    _ = weights.base.tokenizer
    chosen = weights.base.choose_template(template)
    shapes = weights.shapes
    count = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        require_space(out.parent, count * ITEM_BYTES[STORAGE[dtype]])
        with building_folder(out) as part:
            write_merged(weights, part, dtype, chosen.text)
    return out


def write_merged(weights: TrainedWeights, folder: Path, dtype: str, template: str) -> None:
    """The merged model's files into an empty folder, `template` as its only chat template."""
    shapes = weights.shapes
    _copy_companions(weights.base, folder, dtype, untied=HEAD in shapes)
    _write_template(weights.base, folder, template)
    write_stream(folder / WEIGHTS, shapes, map(weights.read, shapes), dtype)


def _copy_companions(folder: ModelFolder, out: Path, dtype: str, *, untied: bool) -> None:
    config = {key: value for key, value in folder.config.items() if key != "torch_dtype"}
    config["dtype"] = dtype
    if untied:
        config["tie_word_embeddings"] = False  # also where the base's config.json was wrong
    folder.write_companions(out)
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_template(folder: ModelFolder, out: Path, template: str) -> None:
    """One template in the place of all: what trained it is what everybody renders."""
    (out / TEMPLATE).write_text(template, encoding="utf-8")
    settings = {key: value for key, value in folder.tokenizer_config.items() if key != IN_CONFIG}
    if IN_CONFIG in folder.tokenizer_config:
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (out / TOKENIZER_CONFIG).write_text(text, encoding="utf-8")
