"""runs/<name>: what a training run leaves behind and later commands pick up.

config.yaml       the resolved configuration
run.json          which command trained it, on which base (of a GGUF file its SHA-256, too) and in
                  which dtype, and what it began with
init_adapter/     a copy of the adapter it began with, if it did not begin with a new one
chat_template.jinja  the chat template it is trained with, which its files get, too
adapter/          the trained LoRA adapter
metrics.jsonl     a line per step
run.lock          while a run is under way: its process, see train/run_lock.py
merged/           written by `merge`
model.*.gguf      written by `export`, with receipt.json
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetool.adapter_config import CONFIG, WEIGHTS
from edgetool.config import Config, load_config
from edgetool.data.sources import DEMO
from edgetool.errors import ModelError, UsageError
from edgetool.files import building_folder, read_log, write_text
from edgetool.gguf_base.adapter import BaseFile
from edgetool.gguf_header import is_gguf
from edgetool.train.settings import StepSettings

if TYPE_CHECKING:
    from edgetool.train.load import LoadSettings
    from edgetool.train.policy import Policy

TRAIN, SFT = "train", "sft"  # the commands that make a run
TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, opened for reading or made for a new run."""

    path: Path

    @classmethod
    def create(
        cls,
        config: Config,
        base: str,
        policy_dtype: str,
        verb: str = TRAIN,
        init_adapter: Path | None = None,
        *,
        template: str,
    ) -> RunFolder:
        """Write config.yaml, run.json, the template and, to begin with it, a copy of an adapter.

        init_adapter   the folder's own copy, when a run goes on
        template       the chat template in Jinja
        """
        run = cls(Path(config.output_dir))
        run.path.mkdir(parents=True, exist_ok=True)
        origin = run._keep(init_adapter)
        write_text(run.path / "config.yaml", config.dump())
        write_text(run.path / TEMPLATE, template)
        facts = {
            "base": base,
            "policy_dtype": policy_dtype,
            "verb": verb,
            "init_adapter": origin,
        }
        if is_gguf(base):
            facts["base_sha256"] = BaseFile.of(Path(base)).sha256
        write_text(run.path / "run.json", json.dumps(facts, indent=2) + "\n")
        return run

    def _keep(self, init_adapter: Path | None) -> str | None:
        """Copy the adapter a run begins with; returns where it came from."""
        copy = self.path / "init_adapter"
        if init_adapter is None:
            shutil.rmtree(copy, ignore_errors=True)  # of a start that came to nothing
            return None
        if init_adapter == copy:
            return str(self.facts["init_adapter"])
        with building_folder(copy) as part:
            for file in (CONFIG, WEIGHTS):
                shutil.copyfile(init_adapter / file, part / file)
        return str(init_adapter.resolve())

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

    def require_base(self, base: str) -> None:
        """Raises ModelError where the GGUF file it was trained on is another one than `base`."""
        facts = self.facts
        named = facts.get("base_sha256")
        if named and is_gguf(base) and (found := BaseFile.of(Path(base))).sha256 != named:
            its = BaseFile(Path(facts["base"]).name, named)
            raise ModelError(
                f"{self.path}: was trained on {its}, and {base} is {found}; give that file, or "
                "train anew"
            )

    @property
    def verb(self) -> str:
        """The command that trains it."""
        return str(self.facts.get("verb", TRAIN))

    @property
    def settings(self) -> StepSettings:
        """The settings of that command."""
        return self.config.sft if self.verb == SFT else self.config.grpo

    @property
    def init_adapter(self) -> Path | None:
        """The adapter it began with; None for a new one."""
        copy = self.path / "init_adapter"
        return copy if copy.is_dir() else None

    @property
    def template(self) -> str | None:
        """Its chat template, as `template_choice.choose` is asked for one.

        The file it was trained with: neither a new release of edgetool nor of the base model may
        change the prompts of a model that is trained.
        """
        return self.kept_template or self.config.template

    @property
    def kept_template(self) -> str | None:
        """That file, None for a run that has not begun."""
        file = self.path / TEMPLATE
        return str(file) if file.is_file() else None

    @property
    def adapter(self) -> Path:
        """Raises UsageError when training has not finished."""
        folder = self.path / "adapter"
        if not folder.is_dir():
            raise UsageError(
                f"{self.path} has no adapter yet; finish training with `{self.resume_command}`"
            )
        return folder

    def validation(self) -> tuple[str | None, int | None]:
        """The source of its held-out rows, and how many of them at most.

        The bundled demo rows stand in as `data.validation` where a configuration names none; they
        say nothing about a model that was trained on other rows: (None, None).
        """
        data = self.config.data
        if data.validation == DEMO and data.train != DEMO:
            return None, None
        return data.validation, data.validation_rows

    @property
    def resume_command(self) -> str:
        return f"edgetool {self.verb} --config {self.path}/config.yaml --resume"

    @classmethod
    def around(cls, path: Path) -> RunFolder | None:
        """The run that `path` is, or that it is a file or folder of; None for neither."""
        for place in (path, path.parent):
            if (place / "run.json").is_file() and (place / "config.yaml").is_file():
                return cls(place)
        return None

    def metrics(self) -> list[dict[str, Any]]:
        """A row per logged step; none when nothing was logged."""
        return read_log(self.path / "metrics.jsonl")


def open_policy(run: RunFolder, *, trained: bool, thinking: bool | None = None) -> Policy:
    """The policy of a run: its base in 4 bits, with the adapter or without.

    thinking   it thinks before it answers; None: as it was trained to
    """
    from edgetool.train.load import load_policy

    adapter = run.adapter if trained else None
    run.require_base(run.facts["base"])
    loading = loading_of(run.config, run.settings, run.template)
    if thinking is not None:
        loading = replace(loading, thinking=thinking)
    return load_policy(run.facts["base"], None, loading, adapter=adapter)


def loading_of(
    config: Config, settings: StepSettings, template: str | None, device: str | None = None
) -> LoadSettings:
    """How the model of a run is brought into memory."""
    from edgetool.train.load import LoadSettings

    return LoadSettings(
        load_in_4bit=config.load_in_4bit,
        attn_implementation=config.attn_implementation,
        bf16=settings.bf16,
        device=device,
        call_syntax=config.call_syntax,
        template=template,
        thinking=config.thinking,
        gradient_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
    )
