"""llama.cpp, as little of it as writing completions needs.

The sampler chain and the completion API of llama-cpp-python cost more per token than a model of a
few million parameters does; here a token costs its part of one `llama_decode` and one view of its
logits. Several sequences can be written at once: each has a stream of the KV cache to itself, so
none pays for the length of another, and what is read for one can be copied to another.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import EngineError, UsageError
from edgetool.gguf_header import require_gguf
from edgetool.llama.load import (
    CHUNK,
    can_retract,
    close,
    listening,
    load_model,
    open_context,
    threads_for,
)
from edgetool.llama.memory import footprint, gpu_layers

Logits = NDArray[np.float32]


class Engine:
    """A model in llama.cpp and the tokens its KV cache holds.

    context     tokens the cache has room for in a sequence; beyond what the model was trained on
                it is cut
    sequences   how many can be written at once, numbered from 0: as many as asked for, or fewer
                where their caches would take more than CACHE_BYTES
    gpu         put layers on a GPU, as many as fit, where llama.cpp has a backend for one
    kept        tokens of the prompt read last that were in the cache already
    decoded     micro-batches that went through the model
    """

    def __init__(
        self,
        path: Path,
        context: int,
        threads: int | None,
        sequences: int = 1,
        *,
        gpu: bool = False,
    ) -> None:
        require_gguf(path)
        self.path = path
        if min(context, sequences, threads or 1) < 1:
            raise UsageError(
                f"context, sequences and threads must be at least 1, got {context}, {sequences} "
                f"and {threads}"
            )
        threads = threads_for(path, threads)
        layers = gpu_layers(path, context, sequences) if gpu else 0
        self.llama = load_model(path, threads, layers)
        # llama.cpp rounds a small context up and lets a model run past its training
        self.context = min(context, self.llama._model.n_ctx_train())
        self.sequences = sequences = footprint(path).affordable(self.context, sequences)
        self._ctx = open_context(self.llama, self.context, sequences, threads, path)
        # Also runs at exit: llama-cpp-python's own __del__ comes too late there and complains.
        self._free = weakref.finalize(self, close, self._ctx, self.llama)
        self._size = self.llama.n_vocab()
        self._chunks: list[list[int]] = [[] for _ in range(sequences)]  # prompt tokens to reuse
        self._length = [0] * sequences  # tokens in the cache
        self.kept = self.decoded = 0
        self._adapter: Any = None
        self._batch = _Batch(max(CHUNK, sequences))
        self.can_retract = can_retract(self.llama._model.model)

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

    def copy(self, source: int, target: int) -> None:
        """Have in one sequence what another holds: a prompt that both begin with."""
        import llama_cpp

        memory = llama_cpp.llama_get_memory(self._ctx)
        llama_cpp.llama_memory_seq_rm(memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(memory, source, target, -1, -1)
        self._chunks[target] = list(self._chunks[source])
        self._length[target] = self._length[source]

    def use_adapter(self, path: Path) -> None:
        """Add a LoRA adapter, a GGUF file, to the weights in place of the one before.

        Empties the cache. Raises EngineError where llama.cpp refuses it; the one before stays.
        """
        import llama_cpp

        with listening() as complaints:
            adapter = llama_cpp.llama_adapter_lora_init(self.llama.model, str(path).encode())
        if not adapter:
            reason = complaints[0] if complaints else "no reason given"
            raise EngineError(f"{self.path}: llama.cpp does not take the adapter ({reason})")
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        llama_cpp.llama_set_adapters_lora(self._ctx, adapters, 1, (ctypes.c_float * 1)(1.0))
        if self._adapter:
            llama_cpp.llama_adapter_lora_free(self._adapter)
        self._adapter = adapter
        self.forget()

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
        with listening():
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

        shared = [shared_chunks(chunks, prompt[:-1]) for chunks in self._chunks]
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
        self.decoded += 1

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


def shared_chunks(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens of whole pieces of CHUNK two prompts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    alike = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    return alike // CHUNK * CHUNK
