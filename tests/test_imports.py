"""edgetool's one-way imports, and a quick front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgetool.cli import COMMANDS, LazyCommands, summary

PACKAGE = Path(__file__).resolve().parent.parent / "edgetool"

# part -> the parts it may import from, besides itself
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "adapter_config": {"errors", "files"},
    "architectures": {"errors"},
    "catalogue": {"errors"},
    "activity": set(),
    "extras": set(),
    "gguf_header": {"errors"},
    "gguf_base": {"errors", "architectures", "calls", "files", "gguf_header"},
    "system": set(),
    "terminal": set(),
    "calls": {"errors", "terminal"},
    "runtime": {"calls"},
    "fingerprint": {"calls", "files", "system"},
    "openai_client": {"errors", "calls"},
    "data": {"errors", "files", "terminal", "openai_client", "calls"},
    "rewards": {"errors", "calls", "data"},
    "train": {
        "errors", "adapter_config", "architectures", "extras", "files", "activity", "system",
        "runtime", "openai_client", "calls", "data", "rewards", "gguf_base",
        "gguf_header",
    },
    "export": {
        "errors", "adapter_config", "architectures", "files", "gguf_base", "activity", "system",
        "calls", "gguf_header",
    },
    "grammar": {"errors", "calls", "runtime"},
    "llama": {
        "errors", "files", "gguf_header", "system", "fingerprint", "calls", "runtime", "grammar",
    },
    "server": {"errors", "calls", "runtime", "llama"},
    "chat": {"errors", "calls", "runtime", "grammar", "llama"},
    "eval": {
        "errors", "activity", "files", "gguf_header", "system", "fingerprint", "openai_client",
        "calls", "runtime", "data",
    },
    "config": {"errors", "data", "train"},
    "run_folder": {
        "errors", "adapter_config", "config", "data", "files", "gguf_base", "gguf_header", "train",
    },
    "fidelity": {
        "errors", "gguf_base", "gguf_header", "activity", "catalogue", "files", "run_folder",
        "runtime", "system", "calls", "data", "train", "export", "llama", "eval",
    },
}  # fmt: skip
# The one way from training to the laptop's side: rollouts in llama.cpp.
EXCEPTIONS = {"train/engines/llama.py": {"export", "llama"}}
TORCH_FREE = (
    "calls", "data", "rewards", "runtime", "grammar", "llama", "server", "chat", "config",
    "catalogue", "gguf_base",
)  # fmt: skip


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(tree: ast.AST) -> set[str]:
    """Parts of edgetool a module imports anywhere, type checking included."""
    found = set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            bare = node.module == "edgetool"
            names = [f"edgetool.{a.name}" for a in node.names] if bare else [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("edgetool.")}
    return found - {"__version__"}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if part_of(path) in ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    part = part_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {part} | EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix(), set())
    assert imported_parts(tree) - own <= ALLOWED[part]


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if part_of(path) in TORCH_FREE],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_parts_for_a_laptop_never_import_torch(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {
        a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    roots |= {
        n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module
    }
    assert not roots & {"torch", "transformers", "peft"}


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_help_loads_no_engine():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from edgetool.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'llama_cpp', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    # typer's own test runner needs none of these either
    assert _python(code).strip() == "[]"


def test_the_help_shows_every_summary_whole():
    # each on a line of its own: one that is too long would be cut, or go on in the next line
    lines = _python(
        "from typer.testing import CliRunner\n"
        "from edgetool.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)"
    ).splitlines()
    width = max(map(len, COMMANDS))
    shown = [line for line in lines if line.strip().partition(" ")[0] in COMMANDS]
    assert shown == [f"  {name:<{width}}  {summary(name)}" for name in COMMANDS]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_its_help_what_the_list_of_all_says_of_it(name):
    command = LazyCommands().get_command(None, name)
    assert command.get_short_help_str(limit=200) == summary(name)
    assert summary(name).endswith(".") and len(summary(name)) > 20


def test_the_help_of_a_command_loads_no_engine():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from edgetool.cli import COMMANDS, app\n"
        "for name in COMMANDS:\n"
        "    done = CliRunner().invoke(app, [name, '--help'])\n"
        "    assert done.exit_code == 0 and 'Usage: ' in done.output, name\n"
        "print(sorted({'torch', 'transformers', 'llama_cpp'} & set(sys.modules)))"
    )
    assert _python(code).strip() == "[]"


def test_help_takes_under_300_ms_of_cpu():
    # processor time, not wall time: a busy machine must not fail a good door
    code = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'edgetool', '--help']\n"
        "times = []\n"
        "for _ in range(3):\n"
        "    before = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)\n"
        "    after = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n"
        "print(min(times))"
    )
    assert float(_python(code)) < 0.3
