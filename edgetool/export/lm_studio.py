"""LM Studio's folder layout: MODELS/publisher/model/file.gguf, found by it without an import."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from edgetool.errors import UsageError
from edgetool.export.gguf.writer import Plan
from edgetool.export.receipt import ExportedFile
from edgetool.files import building_files, part_path, publish, sweep, writing

PUBLISHER = "edgetool"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def lay_out(
    files: Iterable[ExportedFile], plan: Plan, models: Path, publisher: str = PUBLISHER
) -> list[Path]:
    """Puts files into LM Studio's models folder, by GGUF's naming convention, and returns them.

    On one disk they share their bytes with the originals (hard links). Raises UsageError for a
    publisher that is no name of a folder.
    """
    if not _NAME.fullmatch(publisher):
        raise UsageError(f"--publisher {publisher}: letters, digits, '.', '_' and '-' only")
    placed = []
    for file in files:
        name = plan.metadata.file_name(file.quant)
        model = name.removesuffix(f"-{file.quant}.gguf") + "-GGUF"
        target = models.expanduser() / publisher / model / name
        with writing(models, "--lmstudio"):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent, "*.gguf")
            _link_or_copy(file.path, target)
        placed.append(target)
    return placed


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return  # renaming one link over another of the same file would leave both
    part = part_path(target)
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another disk, or one without links
        with building_files([target]) as (copy,):
            shutil.copyfile(source, copy)
    else:
        publish(part, target)
