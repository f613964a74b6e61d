"""Is the GGUF file the model that was trained? Measured, on the same tokens, in both engines."""

from __future__ import annotations

import ctypes
import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetool.errors import EngineError, ModelError
from edgetool.export.model_folder import ModelFolder
from edgetool.export.safetensors_io import Floats
from edgetool.export.tokenizer.probes import PROBES
from edgetool.export.tokenizer.sentencepiece import (
    BYTES,
    SPACE,
    alphabet,
    is_sentencepiece,
    lacks_merges,
    leaves_first_space,
    only_the_first_has_a_space,
    written,
)
from edgetool.system import quiet_loading, without_amx

KV_TYPES = {"f16": 1, "f32": 0}


@dataclass(frozen=True)
class Fidelity:
    """How far two engines' logits lie apart over `positions` token positions.

    max_abs_delta      the largest |difference| of a logit
    logit_range        largest minus smallest logit of the reference, the scale to judge it by
    argmax_agreement   share of positions whose most likely token is the same
    """

    max_abs_delta: float
    logit_range: float
    argmax_agreement: float
    positions: int

    @property
    def relative(self) -> float:
        return self.max_abs_delta / self.logit_range

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "relative": self.relative}


@dataclass(frozen=True)
class Mismatch:
    """A text that llama.cpp cuts into other tokens than the model's tokenizer."""

    text: str
    ours: list[int]
    llama_cpp: list[int]

    @property
    def position(self) -> int:
        """Of the first token that differs."""
        pairs = zip(self.ours, self.llama_cpp, strict=False)
        same = [one == other for one, other in pairs]
        return same.index(False) if False in same else len(same)


def compare_logits(
    merged: Path,
    gguf: Path,
    prompts: Sequence[Sequence[int]],
    *,
    kv: str = "f16",
    lora: Path | None = None,
) -> Fidelity:
    """Logits of a GGUF file in llama.cpp against the merged folder in transformers, in float32.

    prompts   token ids [P] each; every position counts
    kv        f16 | f32, llama.cpp's cache; f16 is what a user runs
    lora      an adapter in GGUF, loaded beside `gguf`
    """
    reference = _transformers_logits(merged, prompts)
    return summarize(zip(reference, llama_logits(gguf, prompts, kv, lora), strict=True))


def summarize(pairs: Iterable[tuple[Floats, Floats]]) -> Fidelity:
    """Fidelity over pairs (reference [P, V], other [P, V])."""
    delta, low, high, same, positions = 0.0, np.inf, -np.inf, 0, 0
    for reference, other in pairs:
        delta = max(delta, float(np.abs(reference - other).max()))
        low, high = min(low, float(reference.min())), max(high, float(reference.max()))
        same += int((reference.argmax(-1) == other.argmax(-1)).sum())
        positions += len(reference)
    if positions == 0:
        raise ValueError("no positions to compare")
    return Fidelity(delta, high - low, same / positions, positions)


def greedy_agreement(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """Share of rows whose completions are the same token for token."""
    pairs = list(zip(ours, theirs, strict=True))
    return sum(list(one) == list(other) for one, other in pairs) / max(len(pairs), 1)


def token_mismatches(gguf: Path, folder: ModelFolder, texts: Iterable[str]) -> list[Mismatch]:
    """The texts whose token ids differ between the GGUF file and the folder's tokenizer.

    Markers are read as control tokens in both, and nothing is added before or after.
    """
    from tokenizers import Tokenizer, normalizers

    ours = Tokenizer.from_str(json.dumps(folder.tokenizer))
    nfc = normalizers.NFC()
    found = []
    with _llama_tokenizer(gguf) as theirs:
        for text in map(nfc.normalize_str, texts):
            expected, actual = ours.encode(text, add_special_tokens=False).ids, theirs(text)
            if expected != actual:
                found.append(Mismatch(text, expected, actual))
    return found


def measure_tokens(gguf: Path, folder: ModelFolder, count: int = 1000) -> dict[str, Any]:
    """Of a vocabulary that llama.cpp can merge otherwise: the share of `count` texts of its own
    pieces, drawn at random, that are cut into the same tokens, and one that is not. {}: no such
    vocabulary."""
    if not lacks_merges(folder.tokenizer):
        return {}
    draw = random.Random(0)
    added = {token["content"] for token in folder.tokenizer.get("added_tokens") or ()}
    model = folder.tokenizer["model"]
    pieces = [piece for piece in model["vocab"] if piece not in added and piece not in BYTES]
    drawn = ("".join(draw.choices(pieces, k=draw.randint(1, 10))) for _ in range(count))
    texts = as_prompts((text.replace(SPACE, " ") for text in drawn), folder.tokenizer)
    found = token_mismatches(gguf, folder, written(texts, alphabet(folder.tokenizer)))
    other = min((mismatch.text for mismatch in found), key=len, default=None)
    return {"texts": count, "same_tokens": 1 - len(found) / count, "other": other}


def as_prompts(texts: Iterable[str], tokenizer: Mapping[str, Any]) -> list[str]:
    """The texts as a chat template would have them, where what stands before them matters."""
    if only_the_first_has_a_space(tokenizer):
        special = (token for token in tokenizer["added_tokens"] if not token.get("normalized"))
        opened = next(special, {"content": ""})["content"]
        return [opened + text for text in texts]
    return [t.lstrip(" ") if leaves_first_space(tokenizer) else t for t in texts]


def require_same_tokens(gguf: Path, folder: ModelFolder, texts: Iterable[str] = ()) -> None:
    """Raises ModelError unless llama.cpp cuts probes, markers and `texts` as the tokenizer does."""
    added = folder.tokenizer.get("added_tokens") or ()
    # One that is normalized before it is looked for is not found by its own tokenizer, either,
    # where spaces are written otherwise.
    found = [
        token
        for token in added
        if not (token.get("normalized") and is_sentencepiece(folder.tokenizer))
    ]
    markers = [f"a {token['content']}b" for token in found]
    markers += [
        f"{token['content']} \n b" for token in found if any(t.get("rstrip") for t in found)
    ]
    probes = as_prompts([*PROBES, *markers, *texts], folder.tokenizer)
    probes = list(written(probes, alphabet(folder.tokenizer)))
    mismatches = token_mismatches(gguf, folder, probes)
    if mismatches:
        first = mismatches[0]
        shown = slice(first.position, first.position + 5)
        raise ModelError(
            f"{folder.path}: llama.cpp would cut {first.text[:80]!r} into other tokens than the "
            f"model's tokenizer, from token {first.position} on: {first.llama_cpp[shown]} "
            f"instead of {first.ours[shown]}; this tokenizer cannot be exported"
        )


@contextmanager
def _llama_tokenizer(gguf: Path) -> Iterator[Callable[[str], list[int]]]:
    """llama.cpp's tokenizer alone: no weights are loaded and no context is made."""
    import llama_cpp

    # What `Llama(verbose=False)` does: llama.cpp reports every metadata key otherwise.
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), settings)
    if not model:
        raise EngineError(f"{gguf}: llama.cpp cannot load its vocabulary")

    def encode(text: str) -> list[int]:
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 1))()  # a token spans at least one byte
        vocab = llama_cpp.llama_model_get_vocab(model)
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), False, True)
        return list(ids[:count])

    try:
        yield encode
    finally:
        llama_cpp.llama_model_free(model)


def _transformers_logits(folder: Path, prompts: Sequence[Sequence[int]]) -> Iterable[Floats]:
    import torch
    from transformers import AutoModelForCausalLM

    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()
    with torch.no_grad():
        for prompt in prompts:
            yield model(torch.tensor([list(prompt)])).logits[0].numpy()  # [P, V]


def llama_logits(
    gguf: Path, prompts: Sequence[Sequence[int]], kv: str = "f16", lora: Path | None = None
) -> Iterator[Floats]:
    """Logits [P, V] of every prompt in llama.cpp; arguments as for `compare_logits`.

    Raises EngineError when llama.cpp cannot load the file, or the adapter beside it.
    """
    longest = max(map(len, prompts), default=1)
    engine = _load(
        gguf, n_ctx=longest, n_batch=longest, n_ubatch=longest, logits_all=True,
        type_k=KV_TYPES[kv], type_v=KV_TYPES[kv],
    )  # fmt: skip
    try:
        if lora:
            _put_on(engine, lora)
        for prompt in prompts:
            engine.reset()
            engine.eval(list(prompt))
            yield engine.scores[: len(prompt)].copy()  # [P, V]
    finally:
        engine.close()  # frees an adapter, too


def _put_on(engine: Any, lora: Path) -> None:
    """llama-cpp-python's own `lora_path` takes the null of a failed load for an adapter, and the
    process dies of it."""
    import llama_cpp

    adapter = llama_cpp.llama_adapter_lora_init(engine._model.model, str(lora).encode())
    if not adapter:
        raise EngineError(f"{lora}: llama.cpp cannot load it beside {engine.model_path}")
    adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
    scales = (ctypes.c_float * 1)(1.0)
    llama_cpp.llama_set_adapters_lora(engine._ctx.ctx, adapters, 1, scales)


def _load(gguf: Path, **settings: Any) -> Any:
    from llama_cpp import Llama

    try:
        with without_amx():
            return Llama(str(gguf), verbose=False, n_gpu_layers=0, **settings)
    except (ValueError, RuntimeError) as error:
        raise EngineError(f"{gguf}: llama.cpp cannot load it: {error}") from error
