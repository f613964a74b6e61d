"""From a transformers folder to the plan of its GGUF, and the check that there can be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgetool.architectures import (
    OUTSIDE_LAYERS,
    Architecture,
    expected_biases,
    find_architecture,
    gguf_name,
)
from edgetool.calls.prompt.thinking import with_default
from edgetool.errors import ModelError
from edgetool.export.gguf.metadata import describe
from edgetool.export.gguf.writer import Plan
from edgetool.export.model_folder import ModelFolder, resolve
from edgetool.export.rope import rope_tensors
from edgetool.export.safetensors_io import Floats
from edgetool.export.shape import Shape, read_shape
from edgetool.export.stored import HEAD, computed_tensors
from edgetool.export.tokenizer.vocabulary import read_vocabulary
from edgetool.export.weights import TrainedWeights
from edgetool.gguf_base.layout import changes_layout, to_ggml_layout


def check_exportable(model: str | Path, template: str | None = None) -> Path:
    """The folder of a model that can become GGUF, found out from its JSON files and headers alone.

    template   as `template_choice.choose` is asked for one

    Imports no torch and reads no weights, but a head that should be tied: cheap enough to call
    before training starts.
    Raises ModelError naming what is missing, unsafe or unsupported.
    """
    folder = ModelFolder.open(resolve(model))
    architecture = find_architecture(folder.config, folder.path)
    shape = read_shape(folder.config, architecture, folder.path)
    chosen = folder.choose_template(template)
    read_vocabulary(folder, shape.vocab_size, chosen.text)
    stored = {name: tensor.shape for name, tensor in computed_tensors(folder).items()}
    _names(stored, architecture, shape, folder)
    return folder.path


def make_plan(
    weights: TrainedWeights,
    *,
    name: str | None,
    finetune: str | None,
    call_syntax: str | None = None,
    template: str | None = None,
    thinking: bool = False,
) -> Plan:
    """The plan of the GGUF files of these weights. Raises ModelError like `check_exportable`."""
    folder = weights.base
    architecture = find_architecture(folder.config, folder.path)
    shape = read_shape(folder.config, architecture, folder.path)
    names = _names(weights.shapes, architecture, shape, folder)
    tensors = {new: weights.tensors[old].shape for new, old in names.items()}
    tensors |= {new: values.shape for new, values in _computed(shape).items()}
    parameters = sum(int(np.prod(size, dtype=np.int64)) for size in tensors.values())
    chosen = folder.choose_template(template)
    vocabulary = read_vocabulary(folder, shape.vocab_size, chosen.text)
    metadata = describe(folder, parameters, name=name, finetune=finetune)
    return Plan(
        architecture=architecture,
        shape=shape,
        vocabulary=vocabulary,
        chat_template=with_default(chosen.text, thinking),
        call_syntax=call_syntax,
        thinking=thinking,
        metadata=metadata.for_tokenizer(folder.tokenizer.get("added_tokens") or ()),
        tensors=tensors,
        sources=names,
    )


def read_blocks(name: str, plan: Plan, weights: TrainedWeights) -> Iterator[Floats]:
    """The float32 values of a GGUF tensor, in llama.cpp's layout, by blocks of whole rows."""
    if name not in plan.sources:
        yield _computed(plan.shape)[name]
    elif changes_layout(name, plan.architecture):
        values = weights.read(plan.sources[name])
        yield to_ggml_layout(name, values, plan.architecture, *plan.shape.heads)
    else:
        yield from weights.blocks(plan.sources[name])


def read_change(name: str, plan: Plan, weights: TrainedWeights) -> Floats | None:
    """What the adapter adds to a GGUF tensor, in llama.cpp's layout; None where it adds nothing.
    A tensor that it changes comes from `read_blocks` whole."""
    pairs = weights.adapter.pairs if weights.adapter else {}
    pair = pairs.get(plan.sources.get(name, ""))
    if pair is None:
        return None
    return to_ggml_layout(name, pair.delta(), plan.architecture, *plan.shape.heads)


def _computed(shape: Shape) -> dict[str, Floats]:
    """Tensors that a transformers folder does not store."""
    return rope_tensors(shape.rope_scaling, shape.rope_theta, shape.rope_dimensions)


def _names(
    stored: Mapping[str, tuple[int, ...]],
    architecture: Architecture,
    shape: Shape,
    folder: ModelFolder,
) -> dict[str, str]:
    """GGUF name -> transformers name of every tensor, embeddings first, then layer by layer.

    Raises ModelError for tensors that are missing, unknown or of the wrong size.
    """
    try:
        named = {gguf_name(old, architecture): old for old in stored}
    except ModelError as error:
        raise ModelError(f"{folder.path}: {error}") from error
    names = {new: old for new, old in named.items() if new is not None}
    required = [f"{new}.weight" for new in OUTSIDE_LAYERS.values()]
    if shape.tied and HEAD not in stored:
        required.remove("output.weight")
    biases = expected_biases(architecture, folder.config)
    switched_on = []
    for layer in range(shape.block_count):
        required += [f"blk.{layer}.{part}.weight" for part in architecture.layer.values()]
        switched_on += [f"blk.{layer}.{architecture.layer[part]}.bias" for part in biases]
    for new in [*required, *switched_on]:
        if new not in names:
            raise ModelError(f"{folder.path}: the weights lack the tensor that GGUF calls '{new}'")
    rows, columns = stored[names["token_embd.weight"]]
    if (rows, columns) != (shape.vocab_size, shape.embedding_length):
        raise ModelError(
            f"{folder.path}: the embedding is {rows} x {columns}, config.json says "
            f"{shape.vocab_size} x {shape.embedding_length}"
        )
    rest = [new for new in names if new not in required]
    return {new: names[new] for new in [*required, *rest]}
