"""llama.cpp, as little of it as writing completions needs.

The sampler chain and the completion API of llama-cpp-python cost more per token than a model of a
few million parameters does; here a token costs its part of one `llama_decode` and one view of its
logits. Several sequences can be written at once: each has a stream of the KV cache to itself, so
none pays for the length of another, and what is read for one can be copied to another.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import EngineError, ModelError, UsageError

# A prompt is always read in the same pieces, and only whole pieces are kept for the next prompt:
# rounding in a matrix product may depend on how many tokens go through it at once, so any other
# reuse could let a completion depend on what was asked before.
CHUNK = 64
# More than this many threads only pays once there is enough to compute.
SMALL_FILE = 64 * 2**20
# What the KV caches of several sequences may take together; one sequence may take what it needs.
CACHE_BYTES = 2**30
_MAGIC = b"GGUF"
_LOG_ERROR = 4  # GGML_LOG_LEVEL_ERROR

Logits = NDArray[np.float32]


class Engine:
    """A model in llama.cpp and the tokens its KV cache holds.

    context     tokens the cache has room for in a sequence; beyond what the model was trained on
                it is cut
    sequences   how many can be written at once, numbered from 0: as many as asked for, or fewer
                where their caches would take more than CACHE_BYTES
    kept        tokens of the prompt read last that were in the cache already
    """

    def __init__(self, path: Path, context: int, threads: int | None, sequences: int = 1) -> None:
        _require_gguf(path)
        if min(context, sequences, threads or 1) < 1:
            raise UsageError(
                f"context, sequences and threads must be at least 1, got {context}, {sequences} "
                f"and {threads}"
            )
        threads = _threads(path, threads)
        self.llama = _load(path, threads)
        # llama.cpp rounds a small context up and lets a model run past its training
        self.context = min(context, self.llama._model.n_ctx_train())
        self.sequences = sequences = _affordable(self.llama, self.context, sequences)
        self._ctx = _open(self.llama, self.context, sequences, threads, path)
        # Also runs at exit: llama-cpp-python's own __del__ comes too late there and complains.
        self._free = weakref.finalize(self, _close, self._ctx, self.llama)
        self._size = self.llama.n_vocab()
        self._chunks: list[list[int]] = [[] for _ in range(sequences)]  # prompt tokens to reuse
        self._length = [0] * sequences  # tokens in the cache
        self.kept = 0
        self._batch = _Batch(max(CHUNK, sequences))
        self.can_retract = _can_retract(self.llama._model.model)

    def close(self) -> None:
        self._free()

    def read(self, prompt: Sequence[int], sequence: int = 0) -> Logits:
        """Logits [V] behind a prompt [P], P >= 1; chunks shared with one in the cache are kept.

        A view: it holds until the next call.
        """
        self.kept = kept = self._keep(prompt, sequence)
        for start in range(kept, len(prompt), CHUNK):
            piece = prompt[start : start + CHUNK]
            entries = [(sequence, place, token) for place, token in enumerate(piece, start)]
            self._decode(entries, [len(entries) - 1])
            self._length[sequence] = start + len(piece)
        self._chunks[sequence] = list(prompt[: (len(prompt) // CHUNK) * CHUNK])
        return self._logits(-1)

    def step(self, token: int, sequence: int = 0) -> Logits:
        """Logits [V] behind one more token. A view: it holds until the next call."""
        return self.feed({sequence: [token]})[0]

    def feed(self, pieces: Mapping[int, Sequence[int]]) -> list[Logits]:
        """Logits [V] behind further tokens of each sequence. Views: they hold until the next call.

        pieces   sequence -> one token or more, by rising sequence; max(CHUNK, sequences) in all
        """
        return [rows[0] for rows in self.feed_guessed(pieces, {})]

    def feed_guessed(
        self, pieces: Mapping[int, Sequence[int]], guesses: Mapping[int, Sequence[int]]
    ) -> list[list[Logits]]:
        """As `feed`, with guesses behind some pieces: logits behind the piece and each guess.

        Guesses that do not come true have to be taken back with `retract`.
        """
        entries, ends = [], []
        for sequence, piece in pieces.items():
            tokens = [*piece, *guesses.get(sequence, ())]
            entries += [(sequence, p, t) for p, t in enumerate(tokens, self._length[sequence])]
            ends.append(range(len(entries) - 1 - len(tokens) + len(piece), len(entries)))
            self._length[sequence] += len(tokens)
        self._decode(entries, [end for several in ends for end in several])
        return [[self._logits(end) for end in several] for several in ends]

    def retract(self, sequence: int, count: int) -> None:
        """Take the last `count` tokens out of a sequence's cache again; needs `can_retract`."""
        import llama_cpp

        length = self._length[sequence] = self._length[sequence] - count
        memory = llama_cpp.llama_get_memory(self._ctx)
        if not llama_cpp.llama_memory_seq_rm(memory, sequence, length, -1):
            raise EngineError(f"llama.cpp could not take {count} tokens back")

    def forget(self) -> None:
        """Empty the cache."""
        import llama_cpp

        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._ctx), True)
        self._chunks = [[] for _ in range(self.sequences)]
        self._length = [0] * self.sequences

    def save_state(self, path: Path, ids: Sequence[int]) -> bool:
        """Write what sequence 0 holds of these tokens, which were read last; False: it could not.

        ids   whole CHUNKs
        """
        import llama_cpp

        memory = llama_cpp.llama_get_memory(self._ctx)
        if self._chunks[0] != list(ids) or not llama_cpp.llama_memory_seq_rm(
            memory, 0, len(ids), -1
        ):
            return False
        self._length[0] = len(ids)
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        name = str(path).encode()
        return bool(llama_cpp.llama_state_seq_save_file(self._ctx, name, 0, tokens, len(ids)))

    def load_state(self, path: Path, ids: Sequence[int]) -> bool:
        """Have these tokens in sequence 0's cache, from a file `save_state` wrote of them."""
        import llama_cpp

        self.forget()
        tokens, count = (ctypes.c_int32 * len(ids))(), ctypes.c_size_t()
        name = str(path).encode()
        with _listening():
            read = llama_cpp.llama_state_seq_load_file(
                self._ctx, name, 0, tokens, len(ids), ctypes.byref(count)
            )
        if not read or list(tokens[: count.value]) != list(ids):
            self.forget()
            return False
        self._chunks[0], self._length[0] = list(ids), len(ids)
        return True

    def _keep(self, prompt: Sequence[int], sequence: int) -> int:
        """Leave in a sequence's cache what this prompt shares with some sequence; how many tokens.

        One token must be read, for its logits.
        """
        import llama_cpp

        shared = [_shared(chunks, prompt) for chunks in self._chunks]
        best = max(range(self.sequences), key=lambda s: (shared[s], s == sequence))
        kept = shared[best]
        self._chunks[sequence] = []  # a failure on the way must not leave a promise behind
        self._length[sequence] = 0
        memory = llama_cpp.llama_get_memory(self._ctx)
        if kept and best != sequence:  # a stream is copied whole or not at all
            llama_cpp.llama_memory_seq_rm(memory, sequence, -1, -1)
            llama_cpp.llama_memory_seq_cp(memory, best, sequence, -1, -1)
        # A sliding window has let go of what a shorter prompt needs; recurrent models cannot go
        # back in part.
        whole = llama_cpp.llama_memory_seq_pos_min(memory, sequence) <= 0
        if not (kept and whole and llama_cpp.llama_memory_seq_rm(memory, sequence, kept, -1)):
            llama_cpp.llama_memory_seq_rm(memory, sequence, -1, -1)
            kept = 0
        return kept

    def _decode(self, entries: Sequence[tuple[int, int, int]], ends: Sequence[int]) -> None:
        """Put (sequence, position, token) into the cache; logits are made of those at `ends`."""
        import llama_cpp

        status = llama_cpp.llama_decode(self._ctx, self._batch.fill(entries, ends))
        if status != 0:
            raise EngineError(
                f"llama.cpp could not read {len(entries)} tokens: llama_decode gave {status}"
            )

    def _logits(self, place: int) -> Logits:
        import llama_cpp

        pointer = llama_cpp.llama_get_logits_ith(self._ctx, place)
        return np.ctypeslib.as_array(pointer, shape=(self._size,))


class _Batch:
    """llama.cpp's own batch with room for `size` tokens, filled again and again."""

    def __init__(self, size: int) -> None:
        import llama_cpp

        self._batch = llama_cpp.llama_batch_init(size, 0, 1)
        weakref.finalize(self, llama_cpp.llama_batch_free, self._batch)

    def fill(self, entries: Sequence[tuple[int, int, int]], ends: Sequence[int]) -> Any:
        batch = self._batch
        for place, (sequence, position, token) in enumerate(entries):
            batch.token[place] = token
            batch.pos[place] = position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = False
        for place in ends:
            batch.logits[place] = True
        batch.n_tokens = len(entries)
        return batch


def _shared(chunks: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens of whole chunks two prompts begin with alike, the last token left out."""
    kept, limit = 0, min(len(chunks), len(prompt) - 1)
    while kept + CHUNK <= limit and (
        chunks[kept : kept + CHUNK] == list(prompt[kept : kept + CHUNK])
    ):
        kept += CHUNK
    return kept


def _require_gguf(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; `edgetool export` writes GGUF files")
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise ModelError(f"{path}: not a GGUF file, it begins with {magic!r}; give a .gguf file")


def _threads(path: Path, threads: int | None) -> int:
    """As many as asked for; one for a small file, else llama-cpp-python's own choice."""
    import os

    if threads is not None:
        return threads
    return 1 if path.stat().st_size < SMALL_FILE else max((os.cpu_count() or 1) // 2, 1)


def _load(path: Path, threads: int) -> Any:
    """The model with its tokenizer. Its own context is as small as can be: ours is opened apart,
    since llama-cpp-python does not offer several sequences."""
    import jinja2
    import llama_cpp

    with _listening() as complaints:
        try:
            return llama_cpp.Llama(
                str(path),
                n_ctx=CHUNK,
                n_batch=CHUNK,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except jinja2.TemplateError as error:  # llama-cpp-python compiles it
            said = f"{path}: its chat template is broken ({error}); export or copy it again"
            raise ModelError(said) from error
        except (ValueError, RuntimeError) as error:
            reason = complaints[0] if complaints else str(error)
            raise ModelError(
                f"{path}: llama.cpp cannot load it ({reason}); the file is cut short, damaged or "
                f"of an architecture this llama.cpp does not know; export or copy it again"
            ) from error


def _affordable(llama: Any, context: int, sequences: int) -> int:
    """At most `sequences`, at least one: so many that their keys and values fit CACHE_BYTES."""
    import llama_cpp

    model = llama._model.model
    heads = max(1, llama_cpp.llama_model_n_head(model))
    width = llama_cpp.llama_model_n_embd(model) * llama_cpp.llama_model_n_head_kv(model) / heads
    per_token = 2 * 2 * width * llama_cpp.llama_model_n_layer(model)  # keys and values, two bytes
    return max(1, min(sequences, int(CACHE_BYTES / max(1.0, per_token * context))))


def _can_retract(model: Any) -> bool:
    """What was read can be taken back token by token: no recurrent state, no sliding window."""
    import llama_cpp as cpp

    recurrent = cpp.llama_model_is_recurrent(model) or cpp.llama_model_is_hybrid(model)
    return not (recurrent or cpp.llama_model_n_swa(model))


def _open(llama: Any, context: int, sequences: int, threads: int, path: Path) -> Any:
    import llama_cpp

    wanted = llama_cpp.llama_context_default_params()
    wanted.n_ctx = context * sequences
    wanted.n_batch = wanted.n_ubatch = max(CHUNK, sequences)
    wanted.n_seq_max = sequences
    wanted.n_threads = wanted.n_threads_batch = threads
    wanted.kv_unified = False
    # Off, as llama-cpp-python has it: on a CPU flash attention adds up in half precision and is
    # slower for one token at a time.
    wanted.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted.no_perf = True
    with _listening() as complaints:
        opened = llama_cpp.llama_init_from_model(llama._model.model, wanted)
    if not opened:
        reason = complaints[0] if complaints else "no reason given"
        raise EngineError(
            f"{path}: llama.cpp cannot make a KV cache of {sequences} x {context} tokens "
            f"({reason}); ask for a smaller --context"
        )
    return opened


def _close(context: Any, llama: Any) -> None:
    import llama_cpp

    llama_cpp.llama_free(context)
    llama.close()


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Keep llama.cpp's log off the terminal while a model loads; gives its errors."""
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    errors: list[str] = []

    @llama_cpp.llama_log_callback
    def note(level: int, text: bytes, _: Any) -> None:
        if level == _LOG_ERROR:
            errors.append(text.decode("utf-8", "replace").strip())

    llama_cpp.llama_log_set(note, ctypes.c_void_p(0))
    try:
        yield errors
    finally:
        llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))
