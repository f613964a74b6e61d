"""`edgetool push`: the files of a receipt to the Hugging Face hub. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from edgetool.errors import UsageError
from edgetool.export import hub
from edgetool.export.receipt import FILE


def run_push(folder: Path, repo: str, console: Console, *, public: bool) -> None:
    """Upload and say where to. Raises UsageError for a folder without an export."""
    if not any((folder / name).is_file() for name in hub.RECEIPTS):
        raise UsageError(
            f"{folder}: no {FILE}, so nothing was exported there; type `edgetool export {folder}`"
        )
    with console.status(f"pushing to {repo}"):
        address = hub.push(folder, repo, public=public)
    console.print(address)
