"""What names a model and the engine that runs it, so that a kept completion is only used again
where the same one would be written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ENGINES = ("edgetool", "llama-cpp-python", "llguidance", "outlines", "torch", "transformers")
_BLOCK = 1 << 20


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 of a model's files and of the versions of what runs it."""
    digest = hashlib.sha256(repr(versions(ENGINES)).encode())
    for path in files:
        digest.update(sha256(path).encode())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
