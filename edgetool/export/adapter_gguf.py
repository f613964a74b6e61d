"""A LoRA adapter as a GGUF file of its own, loaded by llama.cpp beside a base GGUF (--lora).

general.type = adapter, adapter.type = lora, adapter.lora.alpha
<base tensor>.lora_a [r, in], <base tensor>.lora_b [out, r];  llama.cpp adds alpha / r * B A
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetool.errors import ModelError
from edgetool.export.gguf.writer import Plan
from edgetool.export.lora import LoraPair
from edgetool.export.plan import make_plan
from edgetool.export.receipt import ExportedFile
from edgetool.export.safetensors_io import Floats
from edgetool.export.weights import TrainedWeights
from edgetool.files import building_files, require_space, sha256_of, writing
from edgetool.gguf_base.adapter import FILE_KEY, SHA256_KEY, BaseFile
from edgetool.gguf_base.layout import to_ggml_layout
from edgetool.gguf_header import is_gguf

FILE = "adapter.gguf"
RECEIPT = "adapter.receipt.json"
KIND = "LoRA"
FLOAT32 = 4


def export_adapter(
    base: Path,
    adapter: Path,
    out_dir: Path,
    *,
    finetune: str | None = None,
    template: str | None = None,
) -> ExportedFile:
    """Writes `adapter.gguf` into `out_dir`, in float32 as it was trained.

    Raises ModelError when the adapter does not fit the base or the base cannot become GGUF.
    """
    weights = TrainedWeights.open(base, adapter, "base")
    layout = AdapterLayout.of(weights, finetune=finetune, template=template)
    pairs = dict(weights.adapter.pairs) if weights.adapter else {}
    alpha = _alpha(pairs, adapter)
    with writing(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        require_space(out_dir, FLOAT32 * sum(_size(pair) for pair in pairs.values()))
        with building_files([out_dir / FILE]) as (part,):
            matrices = {name: (pair.down.read(), pair.up.read()) for name, pair in pairs.items()}
            own = BaseFile.of(base) if is_gguf(base) else None
            layout.write(part, matrices, alpha, own)
    target = out_dir / FILE
    counts = {"F32": 2 * len(pairs)}
    return ExportedFile(target, KIND, target.stat().st_size, sha256_of(target), counts)


@dataclass(frozen=True)
class AdapterLayout:
    """Where the matrices of a base model's adapters stand in GGUF.

    names   GGUF name of a tensor by its transformers name
    """

    plan: Plan
    names: Mapping[str, str]

    @classmethod
    def of(
        cls, weights: TrainedWeights, *, finetune: str | None = None, template: str | None = None
    ) -> AdapterLayout:
        plan = make_plan(weights, name=None, finetune=finetune, template=template)
        return cls(plan, {source: name for name, source in plan.sources.items()})

    def write(
        self,
        path: Path,
        matrices: Mapping[str, tuple[Floats, Floats]],
        alpha: float,
        base: BaseFile | None = None,
    ) -> None:
        """Write A [r, in] and B [out, r] of each tensor, by its transformers name.

        base   the GGUF file it goes beside, where there is only one
        """
        from gguf import GGUFWriter

        plan = self.plan
        writer = GGUFWriter(path, plan.architecture.name)
        try:
            writer.add_type("adapter")
            writer.add_name(plan.metadata.name)
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", alpha)
            if base:
                writer.add_string(FILE_KEY, base.name)
                writer.add_string(SHA256_KEY, base.sha256)
            for source, (down, up) in matrices.items():
                name = self.names[source]
                writer.add_tensor(f"{name}.lora_a", down)
                up = to_ggml_layout(name, up, plan.architecture, *plan.shape.heads)
                writer.add_tensor(f"{name}.lora_b", up)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _alpha(pairs: dict[str, LoraPair], where: Path) -> float:
    """The one alpha that gives every pair its scale, llama.cpp's being alpha / r."""
    found = {round(pair.scale * pair.down.shape[0], 6) for pair in pairs.values()}
    if len(found) != 1:
        raise ModelError(
            f"{where}: its matrices have {len(found)} alphas; llama.cpp reads only one"
        )
    return found.pop()


def _size(pair: LoraPair) -> int:
    rank = pair.down.shape[0]
    return rank * (pair.shape[0] + pair.shape[1])
