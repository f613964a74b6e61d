"""How much each input of a weight matrix matters: llama.cpp's importance matrix.

    importance[j] = mean over tokens of x_j ** 2,   x [columns] what the matrix is multiplied with

A quantizer that is told this puts its rounding errors where they are multiplied with little. As in
llama.cpp, layers have one and embeddings and the output matrix do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetool.errors import DataError, ModelError
from edgetool.export.safetensors_io import Floats
from edgetool.files import building_files

FILE = "imatrix.gguf"
SUMS, COUNTS = ".in_sum2", ".counts"
IN_LAYERS = "blk."


@dataclass(frozen=True)
class ImportanceMatrix:
    """Squared activations, summed over tokens.

    sums       float32 [columns] by GGUF tensor name
    tokens     how many were summed
    rows       how many texts they came from
    dataset    where the texts came from, for the file's metadata
    """

    sums: Mapping[str, Floats]
    tokens: int
    rows: int
    dataset: str

    @property
    def weights(self) -> dict[str, Floats]:
        """The means: float32 [columns] by GGUF tensor name, as quantizers want them."""
        return {name: total / np.float32(self.tokens) for name, total in self.sums.items()}

    def write(self, path: Path) -> None:
        """The file that llama.cpp's own llama-quantize reads with --imatrix."""
        from gguf import GGUFWriter

        with building_files([path]) as (part,):
            writer = GGUFWriter(part, "")  # no model, so no architecture either
            writer.kv_data[0].clear()
            writer.add_type("imatrix")
            writer.add_array("imatrix.datasets", [self.dataset])
            writer.add_uint32("imatrix.chunk_count", self.rows)
            writer.add_uint32("imatrix.chunk_size", max(1, self.tokens // self.rows))
            for name, total in self.sums.items():
                writer.add_tensor(name + SUMS, total.reshape(1, -1))
                writer.add_tensor(name + COUNTS, np.full((1, 1), self.tokens, np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()


def collect(
    causal: Any, sequences: Iterable[Sequence[int]], names: Mapping[str, str], dataset: str
) -> ImportanceMatrix:
    """Runs token ids [L] through a transformers model and sums what its matrices are given.

    causal   a causal LM, with a LoRA adapter in its layers or without
    names    GGUF name by transformers name of the weights, see `Plan.sources`

    Raises DataError when there are no tokens, ModelError when the model lacks a named module or
    its activations are not finite.
    """
    import torch

    tokens = rows = 0
    with _summing(causal, names) as sums, torch.no_grad():
        for ids in sequences:
            inputs = torch.tensor([list(ids)], device=causal.device)
            causal.base_model(input_ids=inputs)  # the head is not needed
            tokens, rows = tokens + len(ids), rows + 1
    if not tokens:
        raise DataError([f"{dataset}: no rows for an importance matrix"])
    totals = {name: total.cpu().numpy().astype(np.float32) for name, total in sums.items()}
    for name, total in totals.items():
        if not np.isfinite(total).all():
            raise ModelError(f"the activations of '{name}' are not finite: no importance matrix")
    return ImportanceMatrix(totals, tokens, rows, dataset)


@contextmanager
def _summing(causal: Any, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Sums of squared inputs, float64 [columns] by GGUF name, of every forward pass meanwhile."""
    import torch

    modules = dict(causal.named_modules())
    sums: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def add(_: Any, args: tuple[Any, ...]) -> None:
            inputs = args[0].detach().reshape(-1, args[0].shape[-1])
            total = inputs.double().square().sum(0)
            sums[name] = sums[name] + total if name in sums else total

        return add

    handles = []
    try:
        for source, name in names.items():
            module = modules.get(source.removesuffix(".weight"))
            if not name.startswith(IN_LAYERS) or not name.endswith(".weight"):
                continue
            if module is None:
                raise ModelError(f"the loaded model has no module of the weight '{source}'")
            if isinstance(getattr(module, "base_layer", module), torch.nn.Linear):
                handles.append(module.register_forward_pre_hook(watch(name)))
        yield sums
    finally:
        for handle in handles:
            handle.remove()
