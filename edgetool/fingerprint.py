"""What names a model and the engine that runs it, so that a kept completion is only used again
where the same one would be written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.files import sha256_of
from edgetool.system import installed

ENGINES = ("edgetool", "llama-cpp-python", "llguidance", "outlines", "torch", "transformers")


def fingerprint(files: Iterable[Path], *texts: str) -> str:
    """SHA-256 of a model's files, of the versions of what runs it, and of what else decides."""
    digest = hashlib.sha256(repr(installed(ENGINES)).encode())
    for path in files:
        digest.update(sha256_of(path).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


def print_of(file: Path, template: ChatTemplate) -> str:
    """The fingerprint of a GGUF file whose prompts are made with `template`."""
    return fingerprint([file], *([template.text] if template.replaced else []))
