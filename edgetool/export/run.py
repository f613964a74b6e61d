"""The export as one pass: read a tensor, add its delta, quantize it for every file, write it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from edgetool.errors import UsageError
from edgetool.export.fidelity import require_same_tokens
from edgetool.export.gguf_writer import GgufFile, Plan
from edgetool.export.plan import make_plan, read_tensor
from edgetool.export.quantize import Quant, get_quant
from edgetool.export.receipt import ExportedFile, Source, sha256_of, write_receipt
from edgetool.export.weights import MERGE_INTO, TrainedWeights
from edgetool.files import building_files, require_space

QUANT = "Q4_K_M"


def export_gguf(
    base: Path,
    adapter: Path | None,
    out_dir: Path,
    quants: Sequence[str] = (QUANT,),
    *,
    merge_into: str = MERGE_INTO,
    policy_dtype: str = "float32",
    name: str | None = None,
    finetune: str | None = None,
    stem: str | None = "model",
    call_syntax: str | None = None,
) -> list[ExportedFile]:
    """Writes one GGUF file per quantization into `out_dir`, and receipt.json beside them.

    base, adapter   a transformers folder, and the adapter trained on it or None
    merge_into      nf4 | base, see `TrainedWeights`
    policy_dtype    the dtype the policy computed in
    name, finetune  for the file's metadata, see `metadata.describe`
    call_syntax     what it was trained to write, None: what its chat template teaches
    stem            files are `<stem>.<quant>.gguf`; None: named by GGUF's naming convention

    All files appear together and whole, after llama.cpp has been seen to cut text into the same
    tokens as the model's own tokenizer. Raises ModelError for a model that cannot be exported,
    UsageError for an unknown quantization and EdgetoolError when the disk is too small.
    """
    if not quants:
        raise UsageError("no quantization asked for; name one with --quant, Q4_K_M for instance")
    chosen = list({quant.name: quant for quant in map(get_quant, quants)}.values())
    weights = TrainedWeights.open(base, adapter, merge_into, policy_dtype)
    plan = make_plan(weights, name=name, finetune=finetune, call_syntax=call_syntax)
    out_dir.mkdir(parents=True, exist_ok=True)
    require_space(out_dir, sum(plan.estimate(quant) for quant in chosen))
    targets = [out_dir / _file_name(plan, quant, stem) for quant in chosen]
    with building_files(targets) as parts:
        types = _write(parts, chosen, plan, weights)
        require_same_tokens(parts[0], weights.base, [plan.chat_template])
    exported = [
        ExportedFile(path, quant.name, path.stat().st_size, sha256_of(path), counts)
        for path, quant, counts in zip(targets, chosen, types, strict=True)
    ]
    write_receipt(out_dir, Source(base, adapter, merge_into, policy_dtype), exported)
    return exported


def _write(
    paths: Sequence[Path], quants: Sequence[Quant], plan: Plan, weights: TrainedWeights
) -> list[dict[str, int]]:
    """All files side by side, so that each tensor is read and merged once."""
    with ExitStack() as stack:
        files = []
        for path, quant in zip(paths, quants, strict=True):
            file = GgufFile.create(path, plan, quant)
            stack.callback(file.close)
            files.append(file)
        for name in plan.tensors:
            values = read_tensor(name, plan, weights)
            for file in files:
                file.add(name, values)
        return [file.type_counts for file in files]


def _file_name(plan: Plan, quant: Quant, stem: str | None) -> str:
    return plan.metadata.file_name(quant.name) if stem is None else f"{stem}.{quant.name}.gguf"
