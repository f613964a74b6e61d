"""Which base a LoRA adapter's GGUF file belongs to: its own keys say it, or its shapes do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetool.errors import ModelError
from edgetool.files import sha256_of
from edgetool.gguf_header import once_a_file

FILE_KEY, SHA256_KEY = "edgetool.base.file", "edgetool.base.sha256"
HALVES = {".lora_a": 1, ".lora_b": 0}  # the dimension of the base's matrix that each has, too


@dataclass(frozen=True)
class BaseFile:
    """A GGUF file that adapters are trained on."""

    name: str
    sha256: str

    @staticmethod
    def of(path: Path) -> BaseFile:
        """Raises ModelError for what is no GGUF file."""
        return _base_file(path)

    def __str__(self) -> str:
        return f"{self.name} (SHA-256 {self.sha256[:12]}…)"


@once_a_file  # a run and its export ask several times, and a base has gigabytes
def _base_file(path: Path) -> BaseFile:
    return BaseFile(path.name, sha256_of(path))


def require_base(adapter: Path, base: Path) -> None:
    """Raises ModelError, naming both files, where an adapter was made for another base.

    By the base's SHA-256 where the adapter names it, else by the shapes of its matrices.
    """
    from edgetool.gguf_base.reader import read_gguf

    header = read_gguf(adapter)
    if header.fields.get("general.type") != "adapter":
        raise ModelError(f"{adapter}: no LoRA adapter; `edgetool export RUN` writes adapter.gguf")
    named = header.fields.get(SHA256_KEY)
    if isinstance(named, str):
        wanted = BaseFile(str(header.fields.get(FILE_KEY)), named)
        if (found := BaseFile.of(base)).sha256 != named:
            raise ModelError(
                f"{adapter}: was trained on {wanted}, and {base} is {found}; give that file"
            )
        return
    matrices = read_gguf(base).tensors
    for name, half in header.tensors.items():
        matrix, dimension = matrices.get(name[:-7]), HALVES.get(name[-7:])
        if dimension is None:
            raise ModelError(f"{adapter}: the tensor {name} is not part of a plain LoRA")
        if matrix is None or matrix.shape[dimension] != half.shape[dimension]:
            there = "no such tensor" if matrix is None else f"it as {matrix.shape}"
            raise ModelError(
                f"{adapter}: changes {name[:-7]} with {half.shape}, and {base} has {there}; give "
                "the base it was trained on"
            )
