"""Models that the export does not know, through a llama.cpp checkout's own convert_hf_to_gguf.py.

The adapter is merged into a staging folder, the script makes an F32 file of it in a process of its
own, and llama.cpp's quantizer, which has a recipe for every architecture, makes the rest. That
takes the disk, the memory and the time that `run.export_gguf` does without.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgetool.architectures import ARCHITECTURES
from edgetool.errors import EngineError, ModelError, UsageError
from edgetool.export.export import Counts, choose, publish
from edgetool.export.gguf import ggml
from edgetool.export.gguf.quantize import Quant
from edgetool.export.merge import write_merged
from edgetool.export.parity import token_mismatches
from edgetool.export.receipt import ExportedFile, Source
from edgetool.export.weights import TrainedWeights
from edgetool.files import claiming, part_path, require_space, sha256_of, writing
from edgetool.gguf_base.reader import read_gguf

SCRIPT = "convert_hf_to_gguf.py"
STAGING = "converted"
LAST_LINES = 12  # of what the script said, when it failed
FLOAT32 = 4


def find_script(path: Path) -> Path:
    """The script of a llama.cpp checkout, or the script itself. Raises UsageError without it."""
    script = path / SCRIPT if path.is_dir() else path
    if not script.is_file() or script.suffix != ".py":
        raise UsageError(
            f"--converter {path}: no {SCRIPT} there; name the folder of a llama.cpp checkout "
            "(git clone https://github.com/ggml-org/llama.cpp)"
        )
    return script.resolve()


def export_converted(
    script: Path,
    base: Path,
    adapter: Path | None,
    out_dir: Path,
    quants: Sequence[str],
    *,
    merge_into: str,
    policy_dtype: str = "float32",
    template: str | None = None,
) -> tuple[list[ExportedFile], list[str]]:
    """Writes `model.<quant>.gguf` per quantization and receipt.json into `out_dir`.

    Returns the files, and texts that llama.cpp cuts into other tokens than the model's tokenizer.

    Raises ModelError for an adapter that cannot be merged, EngineError with the script's last lines
    when it fails. Nothing is left in `out_dir` then, nor on Ctrl-C.
    """
    chosen = choose(quants)
    weights = TrainedWeights.open(base, adapter, merge_into, policy_dtype)
    chosen_template = weights.base.choose_template(template)
    used = chosen_template.text
    if adapter and merge_into == "nf4":
        _require_known_layers(weights)
    targets = {quant: out_dir / f"model.{quant.name}.gguf" for quant in chosen}
    parts = {quant.name: part_path(target) for quant, target in targets.items()}
    staging = part_path(out_dir / STAGING)
    with writing(out_dir), ExitStack() as claims:
        out_dir.mkdir(parents=True, exist_ok=True)
        require_space(out_dir, _estimate(weights, chosen, used))
        claims.enter_context(claiming(staging, folders=True))
        claims.enter_context(claiming(*parts.values()))
        whole = _convert(script, weights, staging, used)
        mismatches = _other_tokens(whole, weights)
        for quant in chosen:
            _quantize(whole, parts[quant.name], quant)
        exported = [_describe(quant, parts[quant.name], targets[quant]) for quant in chosen]
        source = Source(base, adapter, merge_into, policy_dtype)
        notes = {
            "converter": {"path": str(script), "sha256": sha256_of(script)},
            "texts_with_other_tokens": len(mismatches),
            "measured": [],
            "held_out": {"why": f"{script.name} wrote them"},
            "chat_template": chosen_template.name,
        }
        publish(out_dir, parts, exported, source, notes)
    return exported, mismatches


def _require_known_layers(weights: TrainedWeights) -> None:
    named = (weights.base.config.get("architectures") or ["(none named)"])[0]
    if named not in ARCHITECTURES:
        raise ModelError(
            f"{weights.base.path}: edgetool does not know which layers of '{named}' training "
            "rounded to NF4; add --merge-into base to merge into the weights as they are stored"
        )


def _estimate(weights: TrainedWeights, quants: Sequence[Quant], template: str) -> int:
    """Bytes of the merged folder, the F32 file and the quantized ones, all at once."""
    count = sum(int(np.prod(shape, dtype=np.int64)) for shape in weights.shapes.values())
    copies = 2 if _is_changed(weights, template) else 1
    quantized = sum(ggml.tensor_bytes(quant.usual, (256,)) / 256 for quant in quants)
    return int(count * (copies * FLOAT32 + quantized))


def _is_changed(weights: TrainedWeights, template: str) -> bool:
    """The script cannot read the base folder as it is."""
    return weights.adapter is not None or template != weights.base.own_template


def _convert(script: Path, weights: TrainedWeights, staging: Path, template: str) -> Path:
    """The script's F32 file. Without an adapter it reads the model's own folder, unless another
    chat template takes the place of the model's own."""
    model = weights.base.path.resolve()
    if _is_changed(weights, template):
        model = staging / "model"
        model.mkdir()
        write_merged(weights, model, "float32", template)
    whole = staging.resolve() / "model.F32.gguf"
    command = [
        sys.executable, str(script), str(model.resolve()),
        "--outfile", str(whole), "--outtype", "f32",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=staging,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # else what it printed comes behind its error
    )
    if done.returncode or not whole.is_file():
        said = "\n".join(done.stdout.rstrip().splitlines()[-LAST_LINES:])
        how = f"exit code {done.returncode}" if done.returncode else "it wrote no file"
        lacks = re.search(r"No module named '(\w+)", said)
        hint = f"\ninstall what it needs: pip install {lacks[1]}" if lacks else ""
        raise EngineError(f"{script} failed on {weights.base.path} ({how}):\n{said}{hint}")
    read_gguf(whole)
    return whole


def _other_tokens(whole: Path, weights: TrainedWeights) -> list[str]:
    """Probes that llama.cpp cuts otherwise; none without a tokenizer.json to compare with."""
    from edgetool.export.parity import PROBES

    if weights.base.find("tokenizer.json") is None:
        return []
    return [mismatch.text for mismatch in token_mismatches(whole, weights.base, PROBES)]


def _quantize(whole: Path, part: Path, quant: Quant) -> None:
    import llama_cpp

    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = quant.file_type
    if llama_cpp.llama_model_quantize(str(whole).encode(), str(part).encode(), settings):
        raise EngineError(
            f"{whole.name}: llama.cpp cannot quantize it to {quant.name}, or {part.parent} is full"
        )


def _describe(quant: Quant, part: Path, target: Path) -> ExportedFile:
    counts: Counts = Counter(tensor.kind for tensor in read_gguf(part).tensors.values())
    size, digest = part.stat().st_size, sha256_of(part)
    return ExportedFile(target, quant.name, size, digest, dict(sorted(counts.items())))
