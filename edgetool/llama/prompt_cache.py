"""The tools' part of a prompt, read once and kept beside the model.

The tools of an application rarely change, and they are most of its prompts. What llama.cpp made of
them (the keys and values of every layer) is written to MODEL.gguf.warm/KEY.kv; opened again, the
first prompt begins behind them. The key covers the model, its adapter, the version of the engine
and the tokens themselves, which the template and the tools made. A file that is damaged, or of
something else, is passed over and made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetool.calls.types import Tool
from edgetool.files import building_files, sha256_of
from edgetool.llama.engine import shared_chunks
from edgetool.llama.session import LlamaSession
from edgetool.system import installed

# Two requests that share nothing but the tools; what their prompts share is what is kept.
_REQUESTS = ("a", "Zebra")
# Tool lists kept for one model; the oldest goes.
KEPT = 4
_SAMPLES, _BLOCK = 256, 16 * 2**10


@dataclass(frozen=True)
class Prefilled:
    """What `prefill` did: tokens of the prompt that are in the cache, and where from."""

    tokens: int
    loaded: bool
    path: Path


def prefill(session: LlamaSession, tools: Sequence[Tool], *, keep: bool = True) -> Prefilled | None:
    """Have the prompt's beginning with these tools in the cache, from disk where it is kept.

    keep   write it to disk when it was not there

    None where the prompt's beginning is too short to be worth a file, or the engine cannot keep it.
    A folder that cannot be written to is no error: the next start reads the tools again.
    """
    ids = prefix_ids(session, tools)
    if not ids:
        return None
    path = folder_of(session.path) / f"{key_of(session, ids)}.kv"
    if _whole(path) and session.engine.load_state(path, ids):
        return Prefilled(len(ids), True, path)
    session.engine.read([*ids, ids[-1]])
    if keep:
        try:
            _save(session, ids, path)
        except OSError:
            return Prefilled(len(ids), False, path)
    return Prefilled(len(ids), False, path)


def prefix_ids(session: LlamaSession, tools: Sequence[Tool]) -> list[int]:
    """What prompts with these tools begin with, in whole pieces of CHUNK tokens: [P']."""
    first, second = (
        session.prompter.ids([{"role": "user", "content": request}], tools) for request in _REQUESTS
    )
    return first[: shared_chunks(first[: max(0, session.limit - 2)], second)]


def folder_of(model: Path) -> Path:
    return model.with_name(f"{model.name}.warm")


def key_of(session: LlamaSession, ids: Sequence[int]) -> str:
    """Names a model, its engine and a prompt's beginning."""
    files = [file for file in (session.path, session.adapter) if file]
    parts = [*map(sampled_hash, files), installed(["llama-cpp-python"]), list(ids)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def sampled_hash(path: Path) -> str:
    """SHA-256 of a file's size, its first MiB and 256 blocks spread over the rest.

    Reading gigabytes at every start would cost more than is saved. Another model, quantization or
    fine-tune differs in every block; a file somebody altered on purpose may not be noticed, which
    gives worse completions and nothing else.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(2**20))
        for sample in range(_SAMPLES):
            file.seek(size * sample // _SAMPLES)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _save(session: LlamaSession, ids: Sequence[int], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    note = path.with_suffix(".json")
    with building_files([path, note]) as (state, described):
        if not session.engine.save_state(state, ids):
            raise OSError(f"{state}: llama.cpp could not write it")
        said = {"sha256": sha256_of(state), "tokens": len(ids)}
        described.write_text(json.dumps(said), encoding="utf-8")
    for old in sorted(path.parent.glob("*.kv"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)


def _whole(path: Path) -> bool:
    """The file is the one that was written: llama.cpp's reader is given no other."""
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return bool(said["sha256"] == sha256_of(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False
