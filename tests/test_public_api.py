"""What a Python program may import, and the example that docs/python.md shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import edgetool
from tests.conftest import ROOT, weather_tool


@pytest.mark.parametrize("name", [name for name in edgetool.__all__ if name != "__version__"])
def test_every_name_leads_to_something_with_a_docstring(name):
    assert name in dir(edgetool)
    assert f"    {name} " in (edgetool.__doc__ or "")
    assert getattr(edgetool, name).__doc__


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = edgetool.nonsense


def test_importing_edgetool_loads_nothing_heavy():
    code = (
        "import sys, edgetool; print([m for m in ('torch', 'numpy', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_example_of_the_docs_makes_a_call(nano_gguf, tmp_path):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(from pathlib.*?)```", text, re.S)
    (tmp_path / "tools.json").write_text(json.dumps([weather_tool().as_openai()]))
    (tmp_path / "runs" / "my").mkdir(parents=True)
    (tmp_path / "runs" / "my" / "model.Q4_K_M.gguf").symlink_to(nano_gguf)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.startswith("get_weather {'city': 'Oslo'"), done.stderr
