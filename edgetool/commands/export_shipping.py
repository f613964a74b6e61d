"""Where an exported model goes next: a model card, Ollama, LM Studio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgetool.calls import syntaxes
from edgetool.calls.types import Tool
from edgetool.export import card
from edgetool.export.gguf.metadata import describe
from edgetool.export.lm_studio import lay_out
from edgetool.export.model_folder import ModelFolder
from edgetool.export.ollama.modelfile import modelfile, write_modelfile
from edgetool.export.receipt import FILE, ExportedFile, read_receipt
from edgetool.fidelity.survey import Subject
from edgetool.llama.prompt_cache import prefill
from edgetool.llama.session import LlamaSession
from edgetool.run_folder import SFT

MARK = "Made with edgetool"  # a card of ours, which the next export may replace


def warm_files(paths: Sequence[Path], tools: Sequence[Tool], console: Console) -> None:
    """Keep what llama.cpp makes of the tools beside each file (see llama/prompt_cache.py)."""
    for path in paths:
        with LlamaSession(path) as session:
            prefilled = prefill(session, tools)
        if prefilled is None:
            console.print(f"{path.name}: the prompt of these tools is too short to be cached")
        else:
            size = prefilled.path.stat().st_size / 2**20
            console.print(f"{prefilled.path}  {prefilled.tokens} tokens of tools  {size:.1f} MB")


def check_ollama(subject: Subject, *, template: bool) -> None:
    """Raises ModelError, before any work is done, when no Modelfile could be written."""
    modelfile("model.gguf", subject.plan(), ModelFolder.open(subject.base), template=template)


def ship(
    files: Sequence[ExportedFile],
    subject: Subject,
    out: Path,
    console: Console,
    *,
    ollama: bool,
    ollama_template: bool,
    lm_studio: Path | None,
    publisher: str,
) -> None:
    """What is written beside files that were not rejected."""
    plan, good = subject.plan(), [file for file in files if not file.rejected]
    write_card(subject, out, console)
    if not good:
        return
    if ollama:
        folder, name = ModelFolder.open(subject.base), good[0].path.name
        for note in write_modelfile(out, name, plan, folder, template=ollama_template):
            console.print(f"Modelfile: {note}", markup=False)
        if not ollama_template:
            console.print(
                "Modelfile: Ollama runs the file's own chat template; "
                "for one too old for that, add --ollama-template"
            )
        console.print(f"try: ollama create {out.resolve().name.lower()} -f {out}/Modelfile")
    if lm_studio:
        for path in lay_out(good, plan, lm_studio, publisher):
            console.print(f"LM Studio: {path}")


def write_card(subject: Subject, out: Path, console: Console) -> None:
    """The model card of what the receipt in `out` lists. A card that is not ours stays."""
    path = out / card.FILE
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        console.print(f"{path} is not ours and stays as it is; no model card was written")
        return
    card.write_card(out, _origin(subject), read_receipt(out / FILE))


def _origin(subject: Subject) -> card.Origin:
    named = subject.call_syntax
    syntax = syntaxes.get(named) if named else syntaxes.detect(subject.chat_template().text)
    metadata = describe(ModelFolder.open(subject.base), 0, name=None, finetune=subject.finetune)
    config = subject.run.config if subject.run else None
    base = config.model if config and not Path(config.model).exists() else metadata.base
    method = None
    if subject.run:
        method = "sft" if subject.run.verb == SFT else "grpo"
    return card.Origin(
        name=metadata.name,
        base=base,
        license=metadata.license,
        rows=_name(config.data.train) if config else None,
        method=method,
        syntax=syntax.NAME,
    )


def _name(source: str) -> str:
    """A source as the world may know it, without this machine's folders."""
    return Path(source).name if Path(source).exists() else source
