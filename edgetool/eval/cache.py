"""Completions that need not be written again: an interrupted evaluation goes on row by row.

One JSON object a line, appended as rows are done and known by what the completion depends on: the
model and engine (`Runtime.fingerprint`), messages and tools, arm, sampling and seed. The judge is
not among them: it always judges anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example
from edgetool.files import read_log
from edgetool.runtime import Completion, Sampling


class CompletionCache:
    """The completions in one file, opened for reading and adding."""

    def __init__(self, path: Path) -> None:
        self._completions: dict[str, Completion] = {}
        for record in read_log(path):
            try:
                ids = tuple(record["completion"]["token_ids"])
                found = Completion(**{**record["completion"], "token_ids": ids})
                self._completions[str(record["key"])] = found
            except (KeyError, TypeError):  # of another version, or damaged: it is written again
                continue
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> CompletionCache:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._completions)

    def key(self, fingerprint: str, example: Example, *, sampling: Sampling, arm: str) -> str:
        """What a completion depends on, as one short text."""
        # A greedy completion does not depend on the row's seed, so any row may use it.
        drawn = [example.id, sampling.seed] if sampling.temperature > 0 else []
        how = [value for name, value in asdict(sampling).items() if name != "seed"]
        asked = [list(example.messages), [tool.as_openai() for tool in example.tools]]
        text = dumps([fingerprint, asked, arm, how, drawn])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> Completion | None:
        return self._completions.get(key)

    def put(self, key: str, completion: Completion) -> None:
        """Keep a completion, on disk before this returns. A failure is not kept."""
        if completion.error is not None:
            return
        self._file = self._file or self._open()
        self._completions[key] = completion
        self._file.write(json.dumps({"key": key, "completion": asdict(completion)}) + "\n")
        self._file.flush()

    def _open(self) -> TextIO:
        """The file for adding; nothing is made before there is something to keep."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        file = self._path.open("a", encoding="ascii")
        if cut:  # by a crash: what comes next must not continue that line
            file.write("\n")
        return file
