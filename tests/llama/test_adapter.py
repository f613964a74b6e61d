"""A LoRA adapter beside a GGUF file, in the processes that write completions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgetool.catalogue import NANO, locate
from edgetool.cli import app
from edgetool.commands.targets import open_runtimes
from edgetool.data import demo
from edgetool.errors import UsageError
from edgetool.export.adapter_gguf import export_adapter
from edgetool.export.export import export_gguf
from edgetool.llama.client import WorkerClient
from edgetool.llama.pool import PoolRuntime
from edgetool.llama.prompt_cache import folder_of
from edgetool.llama.protocol import Job
from edgetool.runtime import Sampling, in_order
from tests.export.test_adapter_gguf import random_adapter
from tests.llama.test_client import ASKED, WEATHER, do


@dataclass(frozen=True)
class Files:
    base: Path
    lora: Path
    merged: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """nano, an adapter of random weights, and both in one file."""
    folder, nano = tmp_path_factory.mktemp("adapter"), Path(locate(NANO))
    adapter = random_adapter(nano, folder / "adapter", r=2, lora_alpha=8)
    export_gguf(nano, None, folder / "base", ["F32"])
    export_gguf(nano, adapter, folder / "merged", ["F32"], merge_into="base")
    lora = export_adapter(nano, adapter, folder).path
    return Files(folder / "base/model.F32.gguf", lora, folder / "merged/model.F32.gguf")


def test_completions_with_an_adapter_are_those_of_the_merged_file(files: Files) -> None:
    rows = demo.examples("validation", 6)
    found = [_texts(*one, rows) for one in ((files.base, files.lora), (files.merged, None))]
    assert found[0] == found[1]
    assert found[0] != _texts(files.base, None, rows)


def test_a_server_with_an_adapter_takes_no_prompt_that_the_base_alone_has_read(
    files: Files,
) -> None:
    alone = _served(files.base, None)
    assert list(folder_of(files.base).glob("*.kv"))
    beside, merged = _served(files.base, files.lora), _served(files.merged, None)
    assert beside == merged != alone
    assert _served(files.base, None) == alone


def test_run_answers_with_the_adapter(files: Files) -> None:
    question = demo.examples("validation", 1)[0].utterance
    words = ["--free", "--max-completion-length", "24", "--tools", str(_tools(files.base.parent))]
    texts = [
        CliRunner().invoke(app, ["run", str(path), question, *words, *more]).stdout
        for path, more in (
            (files.base, ["--adapter", str(files.lora)]),
            (files.merged, []),
            (files.base, []),
        )
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("command", ["serve", "run"])
def test_an_adapter_of_another_base_is_refused_before_anything_is_loaded(
    command: str, files: Files
) -> None:
    other = files.lora.with_name("other.gguf")
    other.write_bytes(files.merged.read_bytes())
    result = CliRunner().invoke(app, [command, str(files.base), "--adapter", str(other)])
    assert result.exit_code != 0
    assert "no LoRA adapter" in str(result.exception) + result.output


def test_an_adapter_needs_a_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="goes with a GGUF file"):
        next(open_runtimes("runs/my", base=False, model=None, adapter=tmp_path / "a.gguf"))


def test_an_adapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.gguf: no such file"):
        next(open_runtimes("x.gguf", base=False, model=None, adapter=tmp_path / "missing.gguf"))


def _texts(path: Path, adapter: Path | None, rows: list) -> list[str]:
    sampling = Sampling(max_completion_length=24)
    with PoolRuntime(path, workers=1, context=1024, adapter=adapter) as runtime:
        return [completion.text for completion in in_order(runtime.generate(rows, sampling))]


def _served(path: Path, adapter: Path | None) -> str:
    """What a server's engine says, its tools read before the first request."""
    tools = (WEATHER, *demo.examples("validation", 1)[0].tools)
    job = Job(ASKED, tools, Sampling(24))
    with WorkerClient(path, context=1024, prefill=tools, adapter=adapter) as writer:
        return asyncio.run(do(writer, job))[0]


def _tools(folder: Path) -> Path:
    path = folder / "tools.json"
    tools = [tool.as_openai() for tool in demo.examples("validation", 1)[0].tools]
    path.write_text(json.dumps(tools), encoding="utf-8")
    return path
