"""The trained model's weights, one tensor at a time: the base as training saw it, plus deltas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetool.architectures import is_linear
from edgetool.errors import ModelError, UsageError
from edgetool.export.lora import Adapter
from edgetool.export.model_folder import ModelFolder
from edgetool.export.nf4 import round_trip
from edgetool.export.safetensors_io import Floats, StoredTensor
from edgetool.export.stored import HEAD, computed_tensors
from edgetool.gguf_header import is_gguf

# An adapter was trained to correct the NF4-rounded base, not the original: only merged into the
# rounded weights does it compute what the policy computed when its reward was measured. The
# original weights are closer to the model before training, and sometimes better for all that.
MERGE_INTO = "nf4"
MERGE_TARGETS = ("nf4", "base")


@dataclass(frozen=True)
class TrainedWeights:
    """A base model's tensors with an adapter added in float32 as they are read.

    merge_into     nf4: the linear layers are rounded as the policy's were; base: as stored
    policy_dtype   the dtype the policy computed in, see `nf4.round_trip`
    """

    base: ModelFolder
    tensors: dict[str, StoredTensor]
    adapter: Adapter | None
    merge_into: str = MERGE_INTO
    policy_dtype: str = "float32"

    @classmethod
    def open(
        cls,
        base: Path,
        adapter: Path | None,
        merge_into: str = MERGE_INTO,
        policy_dtype: str = "float32",
    ) -> TrainedWeights:
        """Raises ModelError when a folder is unusable or the adapter does not fit the base."""
        if merge_into not in MERGE_TARGETS:
            raise UsageError(f"merge_into: '{merge_into}' is not one of {', '.join(MERGE_TARGETS)}")
        if adapter and merge_into == MERGE_INTO and is_gguf(base):
            raise UsageError(
                f"--merge-into {MERGE_INTO}: {base.name} was trained on as it is, and never "
                "rounded to NF4; leave the option out"
            )
        folder = ModelFolder.open(base)
        tensors = computed_tensors(folder)
        opened = Adapter.open(adapter) if adapter else None
        if opened:
            if HEAD in opened.pairs and HEAD not in tensors:
                raise ModelError(f"{adapter}: changes '{HEAD}', which is tied to the embedding")
            opened.check_fits({name: tensor.shape for name, tensor in tensors.items()})
        return cls(folder, tensors, opened, merge_into, policy_dtype)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name: str) -> Floats:
        """The trained tensor in float32. Without an adapter, the tensor as it is stored."""
        values = self.tensors[name].read()
        if self.adapter is None:
            return values
        if self.merge_into == "nf4" and is_linear(name):
            values = round_trip(values, self.policy_dtype)
        if pair := self.adapter.pairs.get(name):
            values += pair.delta()
        return values

    def blocks(self, name: str) -> Iterator[Floats]:
        """The same by blocks of whole rows: bounded where a tensor stays as it is stored, however
        large; one block where it is merged, since NF4's second quantization looks at all of it."""
        if self._stays(name):
            yield from self.tensors[name].blocks()
        else:
            yield self.read(name)

    def _stays(self, name: str) -> bool:
        if self.adapter is None:
            return True
        rounded = self.merge_into == "nf4" and is_linear(name)
        return not rounded and name not in self.adapter.pairs
