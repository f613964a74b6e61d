"""A random model as a GGUF file, a session on it, and servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgetool.serve.http import ChatServer
from edgetool.serve.listening import bind, server
from edgetool.serve.page import page_routes
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


@pytest.fixture(scope="module")
def serving() -> Iterator[Callable[..., str]]:
    """Starts real servers on free ports; gives their addresses."""
    running = []

    def start(writer: Any, *, patience: float = 30.0, **settings: Any) -> str:
        listening = bind("127.0.0.1", 0)
        front = ChatServer(writer, "tiny", **settings)
        app = front.app(page_routes(front.tools, front.guarded))
        own = server(app, patience=patience)
        thread = threading.Thread(target=own.run, kwargs={"sockets": [listening]})
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.start()
        running.append((own, thread))
        while not own.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return address

    yield start
    for own, _ in running:
        own.should_exit = True
    for _, thread in running:
        thread.join()
