"""A LoRA adapter as a GGUF file of its own, loaded by llama.cpp beside a base GGUF (--lora).

general.type = adapter, adapter.type = lora, adapter.lora.alpha
<base tensor>.lora_a [r, in], <base tensor>.lora_b [out, r];  llama.cpp adds alpha / r * B A
"""

from __future__ import annotations

from pathlib import Path

from edgetool.errors import ModelError
from edgetool.export.gguf.layout import to_ggml_layout
from edgetool.export.gguf.writer import Plan
from edgetool.export.lora import LoraPair
from edgetool.export.plan import make_plan
from edgetool.export.receipt import ExportedFile
from edgetool.export.weights import TrainedWeights
from edgetool.files import building_files, require_space, sha256_of, writing

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
    plan = make_plan(weights, name=None, finetune=finetune, template=template)
    names = {source: name for name, source in plan.sources.items()}
    pairs = dict(weights.adapter.pairs) if weights.adapter else {}
    alpha = _alpha(pairs, adapter)
    with writing(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        require_space(out_dir, FLOAT32 * sum(_size(pair) for pair in pairs.values()))
        with building_files([out_dir / FILE]) as (part,):
            _write(part, plan, pairs, names, alpha)
    target = out_dir / FILE
    counts = {"F32": 2 * len(pairs)}
    return ExportedFile(target, KIND, target.stat().st_size, sha256_of(target), counts)


def _write(
    part: Path, plan: Plan, pairs: dict[str, LoraPair], names: dict[str, str], alpha: float
) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(part, plan.architecture.name)
    writer.add_type("adapter")
    writer.add_name(plan.metadata.name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for source, pair in pairs.items():
        name = names[source]
        up = to_ggml_layout(name, pair.up.read(), plan.architecture, plan.shape)
        writer.add_tensor(f"{name}.lora_a", pair.down.read())
        writer.add_tensor(f"{name}.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alpha(pairs: dict[str, LoraPair], where: Path) -> float:
    """The one alpha that gives every pair its scale, llama.cpp's being alpha / r."""
    found = {round(pair.scale * pair.down.shape[0], 6) for pair in pairs.values()}
    if len(found) != 1:
        raise ModelError(f"{where}: its matrices have {len(found)} alphas, llama.cpp takes one")
    return found.pop()


def _size(pair: LoraPair) -> int:
    rank = pair.down.shape[0]
    return rank * (pair.shape[0] + pair.shape[1])
