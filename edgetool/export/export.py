"""The export as one pass: read a tensor, add its delta, quantize it for every file, write it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetool.activity import Working, silently
from edgetool.errors import UsageError
from edgetool.export.adapter_gguf import AdapterLayout
from edgetool.export.gguf.quantize import Quant, get_quant
from edgetool.export.gguf.writer import GgufFile, Plan
from edgetool.export.lora import Adapter
from edgetool.export.parity import measure_tokens, require_same_tokens
from edgetool.export.plan import make_plan, read_blocks, read_change
from edgetool.export.receipt import (
    FILE,
    ExportedFile,
    Source,
    as_text,
    make_receipt,
    with_earlier_files,
)
from edgetool.export.safetensors_io import Floats
from edgetool.export.weights import MERGE_INTO, TrainedWeights
from edgetool.files import (
    building_files,
    claiming,
    part_path,
    publish_sealed,
    require_space,
    sha256_of,
    writing,
)
from edgetool.gguf_header import is_gguf

QUANT = "Q4_K_M"
REFERENCE = "F16"  # written for a measurement, and removed when nobody asked for it
REJECTED = ".rejected"


@dataclass(frozen=True)
class Judgement:
    """What measuring the files found.

    rejected   quantizations whose file must not get its final name
    measured   for the receipt
    """

    rejected: Collection[str] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)


Counts = dict[str, int]  # tensors by ggml type
Files = dict[str, GgufFile]  # written, by quantization
Judge = Callable[[Mapping[str, Path]], Judgement]  # given the files by quantization


def export_gguf(
    base: Path,
    adapter: Path | None,
    out_dir: Path,
    quants: Sequence[str | Quant] = (QUANT,),
    *,
    merge_into: str = MERGE_INTO,
    policy_dtype: str = "float32",
    name: str | None = None,
    finetune: str | None = None,
    stem: str | None = "model",
    call_syntax: str | None = None,
    template: str | None = None,
    thinking: bool = False,
    importance: Mapping[str, Floats] | None = None,
    judge: Judge | None = None,
    notes: Mapping[str, Any] | None = None,
    working: Working = silently,
) -> list[ExportedFile]:
    """Writes one GGUF file per quantization into `out_dir`, and receipt.json beside them.

    base, adapter   a transformers folder, and the adapter trained on it or None
    merge_into      nf4 | base, see `TrainedWeights`
    policy_dtype    the dtype the policy computed in
    name, finetune  for the file's metadata, see `metadata.describe`
    call_syntax     what it was trained to write, None: what its chat template teaches
    template        the chat template, as `template_choice.choose` is asked for one
    thinking        it was trained to think before it answers
    stem            files are `<stem>.<quant>.gguf`; None: named by GGUF's naming convention
    importance      float32 [columns] by GGUF tensor name, see `imatrix`
    judge           measures the files before they get their names, an F16 one among them unless
                    the base is a GGUF file; one it rejects is kept as `<name>.rejected`
    notes           further entries of the receipt
    working         shows somebody how far the writing is

    Every file is whole under its name, and llama.cpp was seen to cut text into the same tokens as
    the model's own tokenizer. An earlier receipt goes before the first new name and the new one
    comes after the last: whatever a crash leaves, a receipt speaks of files that are there. Raises
    ModelError for a model that cannot be exported, UsageError for an unknown quantization and
    EdgetoolError when the disk is too small, fills up or may not be written.
    """
    chosen = choose(quants)
    weights = TrainedWeights.open(base, adapter, merge_into, policy_dtype)
    plan = make_plan(
        weights,
        name=name,
        finetune=finetune,
        call_syntax=call_syntax,
        template=template,
        thinking=thinking,
    )
    with writing(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        wanted = _with_reference(chosen) if judge and not is_gguf(base) else chosen
        targets = {quant: out_dir / _file_name(plan, quant, stem) for quant in wanted}
        written = _written(out_dir, targets, plan, weights, importance or {}, working)
        with written as (parts, files):
            judgement = judge(parts) if judge else Judgement()
            exported = [_describe(q, parts, targets[q], files, judgement) for q in chosen]
            source = Source(base, adapter, merge_into, policy_dtype)
            measured = {**(notes or {}), **judgement.measured}
            if tokens := measure_tokens(next(iter(parts.values())), weights.base):
                measured["tokens"] = tokens
            publish(out_dir, parts, exported, source, measured)
    return exported


def export_base(
    base: Path,
    target: Path,
    quant: str,
    *,
    merge_into: str = MERGE_INTO,
    policy_dtype: str = "float32",
    template: str | None = None,
) -> AdapterLayout:
    """Write the base that a policy's adapter adds to as `target`, for an engine to load beside it.

    merge_into   as for `TrainedWeights`; nf4: rounded as the policy's base is

    Returns how adapters of it are laid out. Raises as `export_gguf` does.
    """
    stored = TrainedWeights.open(base, None, merge_into, policy_dtype)
    weights = replace(stored, adapter=Adapter(base, {}))
    layout = AdapterLayout.of(weights, template=template)
    kind = get_quant(quant)
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, layout.plan.estimate(kind))
        with building_files([target]) as (part,):
            _write({quant: part}, [kind], layout.plan, weights, {}, silently)
    return layout


def choose(names: Sequence[str | Quant]) -> list[Quant]:
    """Quantizations, each once. Raises UsageError for none or an unknown name."""
    if not names:
        raise UsageError("no quantization asked for; name one with --quant, Q4_K_M for instance")
    found = [name if isinstance(name, Quant) else get_quant(name) for name in names]
    return list({quant.name: quant for quant in found}.values())


@contextmanager
def _written(
    folder: Path,
    targets: Mapping[Quant, Path],
    plan: Plan,
    weights: TrainedWeights,
    importance: Mapping[str, Floats],
    working: Working,
) -> Iterator[tuple[dict[str, Path], Files]]:
    """Whole files by quantization, under names of passage, and what is known of each. What gets no
    other name is removed in the end."""
    require_space(folder, sum(plan.estimate(q, weighed=bool(importance)) for q in targets))
    parts = {quant.name: part_path(target) for quant, target in targets.items()}
    with claiming(*parts.values()):
        files = _write(parts, list(targets), plan, weights, importance, working)
        require_same_tokens(next(iter(parts.values())), weights.base, [plan.chat_template])
        yield parts, files


def publish(
    folder: Path,
    parts: Mapping[str, Path],
    exported: Sequence[ExportedFile],
    source: Source,
    notes: Mapping[str, Any],
) -> None:
    """Give the files their names, and say in the receipt what they and earlier ones are."""
    seal = part_path(folder / FILE)
    with claiming(seal):
        receipt = with_earlier_files(folder, make_receipt(source, exported, notes))
        seal.write_text(as_text(receipt), encoding="utf-8", errors="replace")
        named = {parts[file.quant]: file.path for file in exported}
        publish_sealed(named, (seal, folder / FILE))


def _with_reference(chosen: list[Quant]) -> list[Quant]:
    reference = get_quant(REFERENCE)
    return chosen if reference in chosen else [*chosen, reference]


def _write(
    paths: Mapping[str, Path],
    quants: Sequence[Quant],
    plan: Plan,
    weights: TrainedWeights,
    importance: Mapping[str, Floats],
    working: Working,
) -> Files:
    """All files side by side, so that each block of a tensor is read and merged once. The adapter's
    change is followed where the base's weights lie on a quantizer's grid, which may swallow it."""
    on_grid = is_gguf(weights.base.path)
    with ExitStack() as stack:
        files = []
        for quant in quants:
            file = GgufFile.create(paths[quant.name], plan, quant, weighed=bool(importance))
            stack.callback(file.close)
            files.append(file)
        what = f"writing {', '.join(paths)}"
        activity = stack.enter_context(working(what))
        for name in activity.over(list(plan.tensors), what, "tensor"):
            change = read_change(name, plan, weights) if on_grid else None
            for values in read_blocks(name, plan, weights):
                for file in files:
                    file.add(name, values, importance.get(name), change)
        return {file.quant.name: file for file in files}


def _describe(
    quant: Quant,
    parts: Mapping[str, Path],
    target: Path,
    files: Files,
    judgement: Judgement,
) -> ExportedFile:
    """A whole file under the name it will have."""
    part, rejected = parts[quant.name], quant.name in judgement.rejected
    final = target.with_name(target.name + REJECTED) if rejected else target
    size, digest = part.stat().st_size, sha256_of(part)
    counts, kept = files[quant.name].type_counts, files[quant.name].kept.share
    return ExportedFile(final, quant.name, size, digest, counts, rejected, kept)


def _file_name(plan: Plan, quant: Quant, stem: str | None) -> str:
    return plan.metadata.file_name(quant.name) if stem is None else f"{stem}.{quant.name}.gguf"
