"""Other libraries' progress bars and advice, kept off the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """transformers draws no bar while it loads weights: it takes seconds and tears our tables."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def quiet_bitsandbytes() -> None:
    """On CPUs with AVX512-BF16 it advises a package that fetches compiled code from a hub; call
    this before its first import."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
