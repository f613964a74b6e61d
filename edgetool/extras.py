"""edgetool's optional parts: which extra brings a package, and the command that installs it.

No index is named: `edgetool` there may be somebody else's. The command names the place this
edgetool came from, a checkout or what pip was given.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PACKAGE = Path(__file__).resolve().parent

# What an extra brings, by the module whose absence shows that it is not installed.
_EXTRA_OF = {
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "bitsandbytes": "train",
    "gguf": "export",
    "huggingface_hub": "export",
    "tokenizers": "export",
    "safetensors": "train",
    "llama_cpp": "device",
    "outlines": "device",
    "llguidance": "device",
    "starlette": "device",
    "datasets": "data",
    "httpx": "device",
    "pyarrow": "data",
    "prometheus_client": "device",
    "psutil": "device",
    "uvicorn": "device",
    "numpy": "device",
    "openai": "endpoint",
}


def extra_of(module: str) -> str | None:
    """The extra that brings a module, "torch.nn" too; None for one that none brings."""
    return _EXTRA_OF.get(module.partition(".")[0])


def install_command(extra: str) -> str:
    """What to type for an extra: pip install '/home/me/edgetool[train]'."""
    return f"pip install {shlex.quote(_requirement(extra))}"


def own_environment(extra: str) -> str:
    """The same into a new virtual environment, for an extra whose pins clash with the others."""
    folder = f".venv-{extra}"
    return f"python -m venv {folder} && {folder}/bin/{install_command(extra)}"


def _requirement(extra: str) -> str:
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return f"{checkout}[{extra}]"
    url = _installed_from()
    if url.startswith("file:"):
        return f"{unquote(urlsplit(url).path)}[{extra}]"
    # A wheel out of a folder or an index leaves no trace: the reader knows where it came from.
    return f"edgetool[{extra}] @ {url}" if url else f"EDGETOOL_CHECKOUT[{extra}]"


def _installed_from() -> str:
    """Where pip took edgetool from (PEP 610's direct_url.json); "" when it does not say."""
    try:
        text = importlib.metadata.distribution("edgetool").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = json.loads(text or "{}")
    commit = found.get("vcs_info", {}).get("vcs")
    url = str(found.get("url", ""))
    return f"{commit}+{url}" if commit else url
