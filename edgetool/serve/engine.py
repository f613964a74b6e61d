"""llama.cpp, as little of it as writing a completion needs.

The sampler chain and the completion API of llama-cpp-python cost more per token than a model of a
few million parameters does; here a token costs one `llama_decode` and one view of its logits.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import EngineError, ModelError, UsageError

# A prompt is always read in the same pieces, and only whole pieces are kept for the next prompt:
# rounding in a matrix product depends on how many tokens go through it at once, so any other reuse
# would let a completion depend on what was asked before.
CHUNK = 64
# More than this many threads only pays once there is enough to compute.
SMALL_FILE = 64 * 2**20
_MAGIC = b"GGUF"
_LOG_ERROR = 4  # GGML_LOG_LEVEL_ERROR


class Engine:
    """A model in llama.cpp and the tokens its KV cache holds.

    context   tokens the cache has room for; beyond what the model was trained on it is cut
    """

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        _require_gguf(path)
        self.llama = _load(path, context, threads)
        # Also runs at exit: llama-cpp-python's own __del__ comes too late there and complains.
        self._free = weakref.finalize(self, self.llama.close)
        # llama.cpp rounds a small context up and lets a model run past its training
        self.context = min(context, self.llama._model.n_ctx_train())
        self._ctx = self.llama._ctx.ctx
        self._size = self.llama.n_vocab()
        self._chunks: list[int] = []  # the prompt tokens whose keys and values may be reused
        self._one = (ctypes.c_int32 * 1)()

    def close(self) -> None:
        self._free()

    def read(self, prompt: Sequence[int]) -> NDArray[np.float32]:
        """Logits [V] behind a prompt [P], P >= 1; chunks shared with the last one are not read."""
        kept = self._keep(prompt)
        for start in range(kept, len(prompt), CHUNK):
            piece = prompt[start : start + CHUNK]
            self._decode((ctypes.c_int32 * len(piece))(*piece), len(piece))
        self._chunks = list(prompt[: (len(prompt) // CHUNK) * CHUNK])
        return self._logits()

    def step(self, token: int) -> NDArray[np.float32]:
        """Logits [V] behind one more token. A view: it holds until the next call."""
        self._one[0] = token
        self._decode(self._one, 1)
        return self._logits()

    def _keep(self, prompt: Sequence[int]) -> int:
        """Drop from the cache what this prompt does not share; how many tokens stay."""
        import llama_cpp

        kept = 0
        limit = min(len(self._chunks), len(prompt) - 1)  # one token must be read, for its logits
        while kept + CHUNK <= limit and (
            self._chunks[kept : kept + CHUNK] == list(prompt[kept : kept + CHUNK])
        ):
            kept += CHUNK
        self._chunks = []  # a failure on the way must not leave a promise behind
        memory = llama_cpp.llama_get_memory(self._ctx)
        if not llama_cpp.llama_memory_seq_rm(memory, 0, kept, -1):
            llama_cpp.llama_memory_clear(memory, True)  # recurrent models cannot go back in part
            kept = 0
        return kept

    def _decode(self, tokens: Any, count: int) -> None:
        import llama_cpp

        status = llama_cpp.llama_decode(self._ctx, llama_cpp.llama_batch_get_one(tokens, count))
        if status != 0:
            raise EngineError(
                f"llama.cpp could not read {count} tokens: llama_decode gave {status}"
            )

    def _logits(self) -> NDArray[np.float32]:
        import llama_cpp

        pointer = llama_cpp.llama_get_logits_ith(self._ctx, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._size,))


def _require_gguf(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; `edgetool export` writes GGUF files")
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise ModelError(f"{path}: not a GGUF file, it begins with {magic!r}; give a .gguf file")


def _load(path: Path, context: int, threads: int | None) -> Any:
    import llama_cpp

    if context < 1 or (threads is not None and threads < 1):
        raise UsageError(f"context and threads must be at least 1, got {context} and {threads}")
    if threads is None and path.stat().st_size < SMALL_FILE:
        threads = 1
    with _listening() as complaints:
        try:
            return llama_cpp.Llama(
                str(path),
                n_ctx=context,
                n_batch=CHUNK,
                n_ubatch=CHUNK,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            reason = complaints[0] if complaints else str(error)
            raise ModelError(
                f"{path}: llama.cpp cannot load it ({reason}); the file is cut short, damaged or "
                f"of an architecture this llama.cpp does not know; export or copy it again"
            ) from error


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
