"""Where models given by name live: the embedded default `nano`, a folder, or a hub id."""

from __future__ import annotations

from pathlib import Path

from edgetool.errors import ModelError

NANO = "nano"
_PACKAGE = Path(__file__).resolve().parent


def locate(model: str) -> str:
    """`nano` -> its folder; a folder or hub id stays as it is.

    Raises ModelError when nano is not part of this installation.
    """
    if model != NANO or Path(model).is_dir():
        return model
    # In a checkout models/ stands beside the package, in a wheel inside it.
    for folder in (_PACKAGE.parent / "models" / NANO, _PACKAGE / "models" / NANO):
        if (folder / "config.json").is_file():
            return str(folder)
    raise ModelError(
        "the embedded model nano is missing here; run scripts/build_nano.py to make it"
    )
