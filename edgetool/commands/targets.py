"""What MODEL means to `run`, `serve`, `inspect` and `bench device`: the GGUF file it leads to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import typer

from edgetool.catalogue import NANO, locate
from edgetool.errors import UsageError
from edgetool.files import require_writable

# Of several files in a folder the first of these that is there.
PREFERRED = ("Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M", "Q4_0", "IQ4_XS", "F16")
NANO_QUANT = "Q8_0"
ADAPTER = "adapter.gguf"  # what --adapter-only writes: no model by itself


def gguf_of(target: str) -> Path:
    """The GGUF file of a path to one, a folder with some (a run's), or `nano`.

    Says in one line which file of several it took. Raises UsageError where none can be meant.
    """
    path = Path(target).expanduser()
    if target == NANO:
        return _nano()
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise UsageError(
            f"{target}: no such file; give a GGUF file, a run folder with one, or `{NANO}`"
        )
    return path


def _of_folder(folder: Path) -> Path:
    found = sorted(file for file in folder.glob("*.gguf") if file.name != ADAPTER)
    if not found:
        raise UsageError(f"{folder} holds no GGUF file; type: {_export_command(folder)}")
    chosen = min(found, key=_rank)
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        _note(f"{folder} holds {names}; {chosen.name} is used, name another to use that")
    return chosen


def _rank(file: Path) -> tuple[int, str]:
    quant = file.stem.rsplit(".", 1)[-1].rsplit("-", 1)[-1]
    return (PREFERRED.index(quant) if quant in PREFERRED else len(PREFERRED), file.name)


def _export_command(folder: Path) -> str:
    if (folder / "run.json").is_file():
        return f"edgetool export {folder}"
    return f"edgetool export {folder} --out {folder}"


def _nano() -> Path:
    """The embedded default as a GGUF file, written once into the user's cache."""
    from edgetool.export.export import export_gguf
    from edgetool.fingerprint import fingerprint

    base = Path(locate(NANO))
    made_of: Sequence[Path] = sorted(file for file in base.iterdir() if file.is_file())
    folder = _cache() / f"{NANO}-{fingerprint(made_of)[:12]}"
    path = folder / f"{NANO}.{NANO_QUANT}.gguf"
    if not path.is_file():
        require_writable(folder, "XDG_CACHE_HOME=FOLDER")
        _note(f"writing {path}, once")
        export_gguf(base, None, folder, [NANO_QUANT], stem=NANO)
    return path


def _cache() -> Path:
    """Where edgetool keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgetool"


def _note(text: str) -> None:
    typer.echo(f"edgetool: {text}", err=True)
