"""`edgetool demo --model NAME`: an adapter that comes with edgetool, tried on a tiny file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from edgetool.catalogue import NANO, locate
from edgetool.commands import demo_adapter
from edgetool.data import demo
from edgetool.data.rows import write_rows
from edgetool.export.export import export_gguf
from tests.export.test_adapter_gguf import random_adapter


def test_base_and_trained_are_measured_and_serving_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nano = Path(locate(NANO))
    base = export_gguf(nano, None, tmp_path, ["Q8_0"])[0].path
    kept = tmp_path / "models" / "smollm2"
    random_adapter(nano, kept / "adapter")
    write_rows(kept / demo_adapter.ROWS, demo.examples("validation", 3))
    monkeypatch.setattr(demo_adapter, "folder", lambda: tmp_path / "models")
    said = io.StringIO()
    report = demo_adapter.run_adapter_demo(
        "smollm2", base, tmp_path / "out", 2, Console(file=said, width=300)
    )
    rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    measured = [(row["model"], row["n"]) for row in rows]
    assert measured == [("base", 2), ("adapter", 2), ("trained", 2)]
    assert f"edgetool serve {tmp_path / 'out' / 'model.Q8_0.gguf'}" in said.getvalue()
