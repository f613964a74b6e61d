"""What `pip install '.[device]'` brings is enough for a laptop: nothing else may be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT, music_tool

# Runs edgetool with every module hidden that no distribution of argv[1], a JSON list, brings.
HIDING = """
import json, sys
from importlib import metadata
from importlib.abc import MetaPathFinder

brought = {name.lower().replace("_", "-") for name in json.loads(sys.argv.pop(1))}
owners = metadata.packages_distributions()


class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owned = {owner.lower().replace("_", "-") for owner in owners.get(name.split(".")[0], ())}
        if owned and not owned & brought:
            raise ModuleNotFoundError(f"hidden: {name}", name=name)


sys.meta_path.insert(0, Hide())
from edgetool.cli import main
main()
"""


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def brought_by(roots: list[str]) -> set[str]:
    """The distributions of some requirements, with all that those need themselves."""
    found: set[str] = set()
    asked = [Requirement(root) for root in roots]
    while asked:
        wanted = asked.pop()
        name = canonical(wanted.name)
        if name in found:
            continue
        found.add(name)
        for needed in map(Requirement, metadata.requires(name) or ()):
            extras = wanted.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": one}) for one in extras):
                asked.append(needed)
    return found


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def device() -> set[str]:
    needed = project()
    roots = needed["dependencies"] + needed["optional-dependencies"]["device"]
    return brought_by(roots)


def edgetool(device: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HIDING, json.dumps(sorted(device)), *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_help_of_a_command_needs_no_extra() -> None:
    """Whoever asks what a command does has not installed what it needs yet."""
    program = HIDING.replace(
        "from edgetool.cli import main\nmain()",
        "from typer.testing import CliRunner\n"
        "from edgetool.cli import COMMANDS, app\n"
        "done = {name: CliRunner().invoke(app, [name, '--help']) for name in COMMANDS}\n"
        "failed = {name: repr(one.exception) for name, one in done.items() if one.exit_code}\n"
        "print(json.dumps(failed))",
    )
    base = sorted(brought_by(project()["dependencies"]))
    said = subprocess.run(
        [sys.executable, "-c", program, json.dumps(base)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(said.stdout) == {}


def test_the_device_install_has_no_torch(device: set[str]) -> None:
    assert not device & {"torch", "transformers", "peft", "bitsandbytes", "safetensors"}


def test_what_it_does_not_bring_is_hidden(device: set[str], tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    done = edgetool(device, "export", "nano", "--rows", "0", "--out", str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "this command needs tokenizers; type: pip install" in done.stderr


def test_inspect_needs_no_more(device: set[str], nano_gguf: Path) -> None:
    done = edgetool(device, "inspect", str(nano_gguf), "--tensors")
    assert done.returncode == 0, done.stderr
    assert "tools render; call syntax: hermes" in done.stdout
    assert "blk.3.ffn_up.weight" in done.stdout
    as_json = edgetool(device, "inspect", str(nano_gguf), "--json")
    assert json.loads(as_json.stdout)["metadata"]["general.architecture"] == "qwen2"


def test_a_file_that_is_no_gguf_is_one_line(device: set[str], tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK")
    done = edgetool(device, "inspect", str(tmp_path / "x.gguf"))
    assert done.returncode == 1 and "not a GGUF file" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_needs_no_more(device: set[str], nano_gguf: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([music_tool().as_openai()]))
    done = edgetool(device, "run", str(nano_gguf), "--tools", str(tools), "play some jazz")
    assert done.returncode == 0, done.stderr
