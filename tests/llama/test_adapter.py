"""A LoRA adapter beside a GGUF file, in the processes that write completions."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetool.catalogue import NANO, locate
from edgetool.commands.targets import open_runtimes
from edgetool.data import demo
from edgetool.errors import UsageError
from edgetool.export.adapter_gguf import export_adapter
from edgetool.export.export import export_gguf
from edgetool.llama.pool import PoolRuntime
from edgetool.runtime import Sampling, in_order
from tests.export.test_adapter_gguf import random_adapter


def test_completions_with_an_adapter_are_those_of_the_merged_file(tmp_path: Path) -> None:
    nano, rows = Path(locate(NANO)), demo.examples("validation", 6)
    adapter = random_adapter(nano, tmp_path / "adapter", r=2, lora_alpha=2)
    export_gguf(nano, None, tmp_path / "base", ["F32"])
    export_gguf(nano, adapter, tmp_path / "merged", ["F32"], merge_into="base")
    lora = export_adapter(nano, adapter, tmp_path).path
    base, merged = (tmp_path / name / "model.F32.gguf" for name in ("base", "merged"))
    found = [_texts(path, with_, rows) for path, with_ in ((base, lora), (merged, None))]
    assert found[0] == found[1]
    assert found[0] != _texts(base, None, rows)


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
