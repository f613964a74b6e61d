"""receipt.json: what an exported file was made of, and how true it is to what was trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetool import __version__
from edgetool.errors import ModelError
from edgetool.files import sha256_of, write_text
from edgetool.system import installed

FILE = "receipt.json"
PACKAGES = ("gguf", "llama-cpp-python", "numpy", "torch", "transformers", "peft", "bitsandbytes")
PER_FILE = ("files", "measured", "fidelity", "dropped")  # all else is about an export as a whole
SOURCE_FILES = ("*.json", "*.jinja", "*.safetensors", "merges.txt")


@dataclass(frozen=True)
class ExportedFile:
    """One GGUF file.

    size           bytes
    tensor_types   how many tensors have each ggml type
    rejected       it lost more than was allowed, and has a name that says so
    adapter_kept   share of the adapter's change left in it, see `Kept`; None: not measured
    """

    path: Path
    quant: str
    size: int
    sha256: str
    tensor_types: dict[str, int]
    rejected: bool = False
    adapter_kept: float | None = None

    def as_json(self) -> dict[str, Any]:
        found = {**asdict(self), "path": self.path.name}
        if self.adapter_kept is None:
            del found["adapter_kept"]
        return found


@dataclass(frozen=True)
class Source:
    """What the export was made of; see `TrainedWeights`."""

    base: Path
    adapter: Path | None
    merge_into: str
    policy_dtype: str

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"base": _folder(self.base)}
        if self.adapter:
            found["adapter"] = _folder(self.adapter)
            found |= {"merge_into": self.merge_into, "policy_dtype": self.policy_dtype}
        return found


def write_receipt(
    folder: Path,
    source: Source,
    files: Iterable[ExportedFile],
    notes: Mapping[str, Any] | None = None,
    name: str = FILE,
) -> Path:
    """Writes receipt.json, or `name`, into `folder`, with further entries; returns its path."""
    return _save(folder / name, make_receipt(source, files, notes))


def make_receipt(
    source: Source, files: Iterable[ExportedFile], notes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What an export has to say, with further entries."""
    return {
        "edgetool": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": source.as_json(),
        "files": [file.as_json() for file in files],
        "versions": installed(PACKAGES),
        "fidelity": {},
        **(notes or {}),
    }


def with_earlier_files(folder: Path, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """A new receipt that also vouches for what the earlier one of `folder` did.

    A file stays when it is there, unchanged, and of a quantization that was not exported again.
    What was measured of it stays, too, and `export` holds what its own export had otherwise.
    `dropped` names the other files, each with the reason.
    """
    if not (folder / FILE).exists():
        return dict(receipt)
    try:
        earlier = read_receipt(folder / FILE)
    except ModelError:
        return {**receipt, "dropped": [{"path": FILE, "why": "the earlier one was no receipt"}]}
    again = {file["quant"] for file in receipt["files"]}
    new = {file["path"] for file in receipt["files"]}
    kept, dropped = [], []
    for entry in earlier["files"]:
        if entry.get("path") in new:
            continue  # it is replaced
        why = _why_not(folder, entry, again)
        if why is None:
            kept.append(_own_export(entry, earlier, receipt))
        else:
            dropped.append({"path": entry.get("path"), "why": why})
    return {
        **receipt,
        "files": [*receipt["files"], *kept],
        "measured": [*receipt.get("measured", []), *_steps_of(kept, earlier, receipt)],
        "fidelity": {**_fidelity_of(kept, earlier), **receipt["fidelity"]},
        **({"dropped": dropped} if dropped else {}),
    }


def _why_not(folder: Path, entry: Mapping[str, Any], again: Collection[str]) -> str | None:
    """Why an earlier file is not vouched for any more; None when it is."""
    name = str(entry.get("path"))
    if Path(name).name != name or not (folder / name).is_file():
        return "it is gone"
    if entry.get("quant") in again:
        return f"{entry['quant']} was exported again"
    return None if sha256_of(folder / name) == entry["sha256"] else "it was changed"


def _own_export(
    entry: Mapping[str, Any], earlier: Mapping[str, Any], receipt: Mapping[str, Any]
) -> dict[str, Any]:
    """A file's entry with what its export had otherwise than the newest one."""
    about = {**earlier, **entry.get("export", {})}
    own = {key: value for key, value in about.items() if key not in PER_FILE}
    other = {key: value for key, value in own.items() if receipt.get(key) != value}
    missing = {key: None for key in receipt if key not in own and key not in PER_FILE}
    return {**entry, "export": {**missing, **other}}


def _fidelity_of(kept: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any]) -> dict[str, Any]:
    quants = {entry.get("quant") for entry in kept}
    return {name: found for name, found in earlier["fidelity"].items() if name in quants}


def _steps_of(
    kept: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any], receipt: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What was measured of earlier files, each with its rows where these are others."""
    quants = {entry.get("quant") for entry in kept}
    rows = earlier.get("held_out")
    own = {} if rows == receipt.get("held_out") else {"held_out": rows}
    return [{**own, **step} for step in earlier.get("measured", []) if step["step"] in quants]


def record_fidelity(receipt: Path, name: str, result: dict[str, Any]) -> None:
    """Adds a measurement under `fidelity.<name>`, or replaces it.

    Raises ModelError when `receipt` is not a receipt.
    """
    content = read_receipt(receipt)
    content["fidelity"][name] = result
    _save(receipt, content)


def read_receipt(path: Path) -> dict[str, Any]:
    """What `write_receipt` wrote. Raises ModelError when the file is not a receipt."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _ = content["files"][0]["sha256"], content["fidelity"].keys()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a receipt; run the export again") from error
    return dict(content)


def as_text(content: Mapping[str, Any]) -> str:
    """A receipt as it is written."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _save(path: Path, content: Mapping[str, Any]) -> Path:
    write_text(path, as_text(content))
    return path


def _folder(folder: Path) -> dict[str, Any]:
    """A model's folder, or the one GGUF file that it is."""
    found = {file for pattern in SOURCE_FILES for file in folder.glob(pattern)}
    files = [folder] if folder.is_file() else sorted(found)
    described = {
        file.name: {"size": file.stat().st_size, "sha256": sha256_of(file)} for file in files
    }
    return {"path": str(folder), "files": described}
