"""GGUF files nobody should open: the process that asked survives, and says what is wrong."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgetool.errors import EdgetoolError, ModelError
from edgetool.llama.client import WorkerClient
from edgetool.llama.protocol import Done, Job
from edgetool.runtime import Sampling
from tests.llama.mutants import mutants

SHORT = Job(({"role": "user", "content": "hi"},), sampling=Sampling(4))
COUNT = 150  # 1,000 of them take some ten minutes


def header_size(path: Path) -> int:
    gguf = pytest.importorskip("gguf")
    return int(gguf.GGUFReader(path).data_offset)


async def ask(writer: WorkerClient) -> None:
    async for event in writer.write(SHORT):
        last = event
    assert isinstance(last, Done)


def opened(path: Path) -> str:
    """What a user is told of the file; nothing where it is a model after all."""
    try:
        with WorkerClient(path, context=256, sequences=1, threads=1) as writer:
            asyncio.run(ask(writer))
    except EdgetoolError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_no_damaged_file_takes_its_reader_down(gguf: Path, tmp_path: Path):
    def judge(mutant: tuple[str, bytes]) -> tuple[str, str]:
        what, data = mutant
        path = tmp_path / f"{what.split()[0]}.gguf"
        path.write_bytes(data)
        try:
            return what, opened(path)
        finally:
            path.unlink()

    with ThreadPoolExecutor(3) as several:
        damaged = mutants(gguf.read_bytes(), header_size(gguf), COUNT)
        told = dict(several.map(judge, damaged))  # anything but an EdgetoolError is raised here
    assert len(told) == COUNT
    refused = {what: words for what, words in told.items() if words}
    assert len(refused) > COUNT / 2
    assert not {what: words for what, words in refused.items() if "Traceback" in words}
    crashed = {what: words for what, words in refused.items() if "process ended with" in words}
    assert not {what: words for what, words in crashed.items() if "sha256" not in words}


def test_a_broken_chat_template_is_named(gguf: Path, tmp_path: Path):
    whole = gguf.read_bytes()
    assert whole.count(b"{% if tools %}") == 1
    path = tmp_path / "bad.gguf"
    path.write_bytes(whole.replace(b"{% if tools %}", b"{% fi tools %}"))
    with pytest.raises(ModelError, match=r"bad\.gguf: its chat template is broken .*'fi'"):
        WorkerClient(path)
