"""receipt.json: what an exported file was made of, and how true it is to what was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from edgetool import __version__
from edgetool.errors import ModelError
from edgetool.files import write_text

FILE = "receipt.json"
PACKAGES = ("gguf", "llama-cpp-python", "numpy", "torch", "transformers", "peft", "bitsandbytes")
SOURCE_FILES = ("*.json", "*.jinja", "*.safetensors", "merges.txt")


@dataclass(frozen=True)
class ExportedFile:
    """One GGUF file.

    size           bytes
    tensor_types   how many tensors have each ggml type
    rejected       it lost more than was allowed, and has a name that says so
    """

    path: Path
    quant: str
    size: int
    sha256: str
    tensor_types: dict[str, int]
    rejected: bool = False

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": self.path.name}


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
    receipt = {
        "edgetool": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": source.as_json(),
        "files": [file.as_json() for file in files],
        "versions": _versions(),
        "fidelity": {},
        **(notes or {}),
    }
    return _save(folder / name, receipt)


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


def sha256_of(file: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _save(path: Path, content: dict[str, Any]) -> Path:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _folder(folder: Path) -> dict[str, Any]:
    files = sorted({file for pattern in SOURCE_FILES for file in folder.glob(pattern)})
    described = {
        file.name: {"size": file.stat().st_size, "sha256": sha256_of(file)} for file in files
    }
    return {"path": str(folder), "files": described}


def _versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
