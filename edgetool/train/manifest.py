"""A list of a folder's files with their hashes: whether all are there, and as they were written."""

from __future__ import annotations

import json
from pathlib import Path

from edgetool.files import sha256_of

NAME = "manifest.json"


def seal(folder: Path) -> None:
    """Write manifest.json: SHA-256 and size in bytes of every file below `folder`."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({"files": files}, indent=2) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, None when nothing is. Further files do not matter."""
    try:
        files = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        sealed = {name: (entry["sha256"], entry["bytes"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} is missing or unreadable"
    for name, (digest, size) in sealed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
        if sha256_of(path) != digest:
            return f"{name} is not what was written"
    return None
