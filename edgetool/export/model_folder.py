"""A transformers folder, or a GGUF file read as one, opened without trusting it.

Of a folder only JSON, Jinja and safetensors are read, and only files that really lie in it: an
index or a link that leads elsewhere is refused, and so are pickled weights, which run code when
loaded.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from edgetool.calls.prompt.template_choice import ChatTemplate, choose, select
from edgetool.errors import ModelError, NoSuchModel
from edgetool.export.gguf import ggml
from edgetool.export.safetensors_io import Floats, StoredTensor, read_header
from edgetool.files import read_json_object
from edgetool.gguf_base.base import BaseTensor, GgufBase, open_base
from edgetool.gguf_base.reader import BLOCKS
from edgetool.gguf_header import is_gguf

CONFIG = "config.json"
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"  # each by its name, as transformers saves them
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "LICENSE",
)
DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "README.md", "LICENSE*")


def resolve(model: str | Path) -> Path:
    """The local folder of a model given as a folder or as a Hugging Face id (`owner/name`), or the
    GGUF file of one given as that.

    An id is looked up in the local cache and downloaded when it is not there; never more than
    JSON, templates and safetensors. Raises ModelError when there is no such folder or model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir() or is_gguf(folder):
        return folder
    if not _looks_like_id(str(model)):
        raise NoSuchModel(f"{model}: no such model folder")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(model), allow_patterns=list(DOWNLOADED)))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        httpx.HTTPError,
        OSError,
    ) as error:
        raise ModelError(
            f"{model}: no folder of this name, and the Hugging Face hub did not give it "
            f"({type(error).__name__}); check the id, or download it and pass its folder"
        ) from error


def cached(model: str | Path) -> Path | None:
    """As `resolve`, but nothing is downloaded: None for an id that is not in the local cache."""
    folder = Path(model).expanduser()
    if folder.is_dir() or is_gguf(folder) or not _looks_like_id(str(model)):
        return resolve(model)
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(str(model), allow_patterns=list(DOWNLOADED), local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _looks_like_id(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and "\\" not in model


@dataclass(frozen=True)
class ModelFolder:
    """A folder with config.json; everything else is read when it is asked for."""

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Raises ModelError when there is no such folder or it has no readable config.json."""
        if is_gguf(path):
            base = open_base(path)
            return GgufFolder(path, base.config, base)
        if not path.is_dir():
            raise NoSuchModel(f"{path}: no such model folder")
        if not (path / CONFIG).exists():
            raise NoSuchModel(
                f"{path}: no {CONFIG}, so neither a run nor a model folder; give one that "
                "`edgetool train` or transformers wrote"
            )
        return cls(path, read_json_object(inside(path, CONFIG)))

    def find(self, name: str) -> Path | None:
        """A file of the folder, None when it does not have it."""
        return inside(self.path, name) if (self.path / name).exists() else None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object file of the folder, {} when it does not have it."""
        file = self.find(name)
        return read_json_object(file) if file else {}

    @property
    def name(self) -> str:
        """The folder's name; in the hub's cache (models--owner--name/snapshots/<hash>) the
        model's."""
        path = self.path.resolve()
        cached = path.parent.name == "snapshots"
        return path.parent.parent.name.split("--")[-1] if cached else path.name

    @property
    def license(self) -> str | None:
        """The `license:` line in the front matter of its README.md."""
        file = self.find("README.md")
        if file is None:
            return None
        head, mark, rest = file.read_text(encoding="utf-8", errors="replace").partition("---\n")
        if head.strip() or not mark:
            return None
        for line in rest.partition("\n---")[0].splitlines():
            key, _, value = line.partition(":")
            if key == "license" and value.strip():
                return value.strip().strip("'\"")
        return None

    def write_companions(self, out: Path) -> None:
        """Copy everything but the weights and their index."""
        for name in COPIED:
            if self.find(name):
                shutil.copyfile(inside(self.path, name), out / name)

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self.read_json("tokenizer_config.json")

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        """tokenizer.json as an object; built by transformers from vocab.json and merges.txt
        where an older folder has only those. Raises ModelError when there is neither."""
        if file := self.find("tokenizer.json"):
            return read_json_object(file)
        if self.find("vocab.json") and self.find("merges.txt"):
            return _rebuild_tokenizer(self.path)
        if self.find("tokenizer.model"):
            raise ModelError(
                f"{self.path}: the tokenizer is there as a SentencePiece model (tokenizer.model) "
                "alone; write its tokenizer.json with transformers: "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        raise ModelError(f"{self.path}: no tokenizer.json; save the model's tokenizer there")

    @cached_property
    def own_template(self) -> str | None:
        """The Jinja chat template, the one for tools where there are several; None: it has none.

        Looked for where transformers looks: files count more than tokenizer_config.json.
        """
        in_files = self._template_files()
        if in_files:
            return select(in_files)
        template = self.tokenizer_config.get("chat_template")
        template = template or self.read_json("chat_template.json").get("chat_template")
        if isinstance(template, list):
            template = {entry.get("name"): entry.get("template") for entry in template}
        return select(template) if isinstance(template, str | dict) else None

    def _template_files(self) -> dict[str, str]:
        """Template files by the name of their template."""
        names = {"default": TEMPLATE}
        for file in sorted((self.path / MORE_TEMPLATES).glob("*.jinja")):
            names[file.stem] = f"{MORE_TEMPLATES}/{file.name}"
        found = {name: self.find(file) for name, file in names.items()}
        return {name: file.read_text(encoding="utf-8") for name, file in found.items() if file}

    @property
    def chat_template(self) -> ChatTemplate:
        """The chat template that is used where none is asked for, as `choose_template` does."""
        return self.choose_template(None)

    def choose_template(self, wanted: str | None) -> ChatTemplate:
        """The chat template to export, as `template_choice.choose` is asked for one.

        Raises ModelError where none shows the model its tools.
        """
        markers = () if self.own_template else self._added_tokens()
        return choose(self.own_template, wanted, where=self.path, markers=markers)

    def _added_tokens(self) -> list[str]:
        """Their texts; none where there is no tokenizer.json, which says nothing of templates."""
        added = self.read_json("tokenizer.json").get("added_tokens") or ()
        return [token["content"] for token in added]

    def weight_files(self) -> list[Path]:
        """The safetensors files. Raises ModelError for pickled, missing or outside ones, and for
        two sets of them, of which transformers would read the first."""
        index = self.find(INDEX)
        if index and self.find(WEIGHTS) and _indexed_files(index) != [WEIGHTS]:
            raise ModelError(
                f"{self.path}: has {WEIGHTS}, and {INDEX} of others; transformers reads only the "
                "former. Move what is not this model's out of the folder"
            )
        if index:
            return [inside(self.path, name) for name in _indexed_files(index)]
        if single := self.find(WEIGHTS):
            return [single]
        pickled = sorted(match.name for pattern in PICKLED for match in self.path.glob(pattern))
        if pickled:
            raise ModelError(
                f"{self.path}: the weights are pickled ({pickled[0]}) and would run code when "
                "loaded; save them as safetensors with save_pretrained"
            )
        raise ModelError(f"{self.path}: no weights: neither {WEIGHTS} nor {INDEX}")

    def tensors(self) -> dict[str, StoredTensor]:
        """Every stored tensor by name, nothing read yet but the headers."""
        found: dict[str, StoredTensor] = {}
        for file in self.weight_files():
            header = read_header(file)
            if twice := sorted(set(header) & set(found)):
                raise ModelError(
                    f"{self.path}: tensor '{twice[0]}' is in {found[twice[0]].file.name} and in "
                    f"{file.name}; save the model again with save_pretrained"
                )
            found.update(header)
        if index := self.find(INDEX):
            missing = sorted(set(read_json_object(index)["weight_map"]) - set(found))
            if missing:
                raise ModelError(f"{index}: lists tensor '{missing[0]}', which no shard holds")
        return found


@dataclass(frozen=True)
class GgufFolder(ModelFolder):
    """A GGUF file, read as the transformers folder it could be."""

    base: GgufBase

    def find(self, name: str) -> Path | None:
        return None

    def read_json(self, name: str) -> dict[str, Any]:
        return self.base.files.get(name, {})

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        return self.base.files["tokenizer.json"]

    @property
    def name(self) -> str:
        return str(self.base.header.fields.get("general.basename") or self.path.stem)

    @property
    def license(self) -> str | None:
        found = self.base.header.fields.get("general.license")
        return str(found) if found else None

    def tensors(self) -> dict[str, StoredTensor]:
        return {name: _stored(tensor, self.path) for name, tensor in self.base.tensors.items()}

    def write_companions(self, out: Path) -> None:
        for name, content in {CONFIG: self.config, **self.base.files}.items():
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (out / name).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class PackedTensor(StoredTensor):
    """A tensor of a GGUF file, expanded by ggml and laid out as transformers has it."""

    source: BaseTensor

    def read(self) -> Floats:
        values = super().read()
        return self.source.in_transformers(values) if self.source.moved else values

    def blocks(self) -> Iterator[Floats]:
        if self.source.moved:
            yield self.read()
        else:
            yield from super().blocks()

    def _raw(self, first: int, count: int) -> Floats:
        """`first` is a multiple of BLOCK_VALUES or of a row, and so of the type's blocks."""
        values, size = BLOCKS[self.dtype]
        start, wanted = self.start + first // values * size, count // values * size
        packed = np.fromfile(self.file, np.uint8, wanted, offset=start)
        return ggml.dequantize(packed, self.dtype)


def _stored(tensor: BaseTensor, file: Path) -> PackedTensor:
    at = tensor.stored
    return PackedTensor(
        tensor.name, file, at.kind, at.shape, at.start, at.start + at.size, source=tensor
    )


def inside(folder: Path, name: str) -> Path:
    """`folder/name`, proven to lie in `folder`.

    Raises ModelError when `name` is absolute, climbs with `..`, goes through a link that leads
    out of the folder, or names no file. The hub's cache links its files to `blobs` beside
    `snapshots`; those links are followed.
    """
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or _has_root(name):
        raise ModelError(f"{folder}: '{name}' leads outside the model folder")
    file = folder / name
    real = file.resolve()
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        roots.append(folder.resolve().parent.parent / "blobs")
    if not any(real.is_relative_to(root) for root in roots):
        raise ModelError(f"{file}: is a link to {real}, outside the model folder")
    if not real.is_file():
        raise ModelError(f"{folder}: no {name}")
    return file


def _has_root(name: str) -> bool:
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root)


def _indexed_files(index: Path) -> list[str]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: has no weight_map")
    files = sorted({str(name) for name in weight_map.values()})
    for name in files:
        if not name.endswith(".safetensors"):
            raise ModelError(f"{index}: lists '{name}', which is not a safetensors file")
    return files


def _rebuild_tokenizer(folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer  # no tokenizer.json: it is made from older files

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return json.loads(tokenizer.backend_tokenizer.to_str())
