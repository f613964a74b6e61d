"""A random model as a GGUF file, and a session on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetool.serve.session import LlamaSession


@pytest.fixture(scope="session")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    from edgetool.export.run import export_gguf

    return export_gguf(tiny_model, None, tmp_path_factory.mktemp("gguf"), ["F16"])[0].path


@pytest.fixture(scope="session")
def session(gguf: Path) -> Iterator[LlamaSession]:
    with LlamaSession(gguf, context=1024) as opened:
        yield opened
