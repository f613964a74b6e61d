"""A GGUF file on its way into llama.cpp: checked, loaded, given a context and closed again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgetool.errors import EngineError, ModelError
from edgetool.system import cores, without_amx

# A prompt is always read in the same pieces, and only whole pieces are kept for the next prompt:
# rounding in a matrix product may depend on how many tokens go through it at once, so any other
# reuse could let a completion depend on what was asked before.
CHUNK = 64
# More than this many threads only pays once there is enough to compute.
SMALL_FILE = 64 * 2**20
_LOG_ERROR = 4  # GGML_LOG_LEVEL_ERROR


def threads_for(path: Path, threads: int | None) -> int:
    """As many as asked for; one for a small file, else one for each core."""
    if threads is not None:
        return threads
    return 1 if path.stat().st_size < SMALL_FILE else cores()


def load_model(path: Path, threads: int, layers: int) -> Any:
    """The model with its tokenizer. Its own context is as small as can be: ours is opened apart,
    since llama-cpp-python does not offer several sequences."""
    import llama_cpp

    with listening() as complaints, without_amx(), without_templates():
        try:
            return llama_cpp.Llama(
                str(path),
                n_ctx=CHUNK,
                n_batch=CHUNK,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=layers,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            reason = complaints[0] if complaints else str(error)
            raise ModelError(
                f"{path}: llama.cpp cannot load it ({reason}); the file is cut short, damaged or "
                f"of an architecture this llama.cpp does not know; export or copy it again"
            ) from error


def trained_context(metadata: Mapping[str, str], context: int) -> int:
    """At most `context` tokens: no more than a GGUF file says its model was trained on."""
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length", "")
    return min(context, int(trained)) if trained.isdecimal() else context


def can_retract(model: Any) -> bool:
    """What was read can be taken back token by token: no recurrent state, no sliding window."""
    import llama_cpp as cpp

    recurrent = cpp.llama_model_is_recurrent(model) or cpp.llama_model_is_hybrid(model)
    return not (recurrent or cpp.llama_model_n_swa(model))


def open_context(llama: Any, context: int, sequences: int, threads: int, path: Path) -> Any:
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
    with listening() as complaints:
        opened = llama_cpp.llama_init_from_model(llama._model.model, wanted)
    if not opened:
        reason = complaints[0] if complaints else "no reason given"
        raise EngineError(
            f"{path}: llama.cpp cannot make a KV cache of {sequences} x {context} tokens "
            f"({reason}); ask for a smaller --context"
        )
    return opened


def close(context: Any, llama: Any) -> None:
    import llama_cpp

    llama_cpp.llama_free(context)
    llama.close()


@contextmanager
def without_templates() -> Iterator[None]:
    """Keep llama-cpp-python from compiling a file's chat templates while a model loads.

    They are a stranger's programs, which run in a process with limits (see `calls.template`), and
    what its environment does not know is no reason to refuse a file.
    """
    from llama_cpp import llama_chat_format

    module: Any = llama_chat_format
    theirs = module.Jinja2ChatFormatter
    module.Jinja2ChatFormatter = _NoFormatter
    try:
        yield
    finally:
        module.Jinja2ChatFormatter = theirs


class _NoFormatter:
    def __init__(self, **_: Any) -> None:
        pass

    def to_chat_handler(self) -> None:
        return None


@contextmanager
def listening() -> Iterator[list[str]]:
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
