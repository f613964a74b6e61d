"""runs/<name>: what a training run leaves behind and later commands pick up.

config.yaml       the resolved configuration
run.json          what the machine decided: the base model's folder, the compute dtype
adapter/          the trained LoRA adapter
metrics.jsonl     a line per step
merged/           written by `merge`
model.*.gguf      written by `export`, with receipt.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetool.config import Config, load_config
from edgetool.errors import UsageError
from edgetool.files import read_log, write_text


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, opened for reading or made for a new run."""

    path: Path

    @classmethod
    def create(cls, config: Config, base: str, policy_dtype: str) -> RunFolder:
        """Write config.yaml and run.json into the run's output_dir."""
        run = cls(Path(config.output_dir))
        run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.path / "config.yaml", config.dump())
        facts = {"base": base, "policy_dtype": policy_dtype}
        write_text(run.path / "run.json", json.dumps(facts, indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Raises UsageError when there is no run at `path`."""
        if not (path / "config.yaml").is_file() or not (path / "run.json").is_file():
            raise UsageError(f"{path} is not a run folder; `edgetool train --config ...` makes one")
        return cls(path)

    @property
    def config(self) -> Config:
        return load_config(self.path / "config.yaml")

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return facts

    @property
    def adapter(self) -> Path:
        """Raises UsageError when training has not finished."""
        folder = self.path / "adapter"
        if not folder.is_dir():
            again = f"edgetool train --config {self.path}/config.yaml --resume"
            raise UsageError(f"{self.path} has no adapter yet; finish training with `{again}`")
        return folder

    def metrics(self) -> list[dict[str, Any]]:
        """A row per logged step; none when nothing was logged."""
        return read_log(self.path / "metrics.jsonl")
