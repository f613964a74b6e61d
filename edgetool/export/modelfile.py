"""A Modelfile for Ollama: `ollama create NAME -f Modelfile` beside the GGUF file.

FROM, TEMPLATE, PARAMETER and LICENSE as in docs/modelfile.md of Ollama.
"""

from __future__ import annotations

from pathlib import Path

from edgetool.calls import formats
from edgetool.errors import ModelError
from edgetool.export.gguf_writer import Plan
from edgetool.export.go_template import go_template
from edgetool.export.model_folder import ModelFolder
from edgetool.files import write_text

FILE = "Modelfile"
CONTEXT = 4096  # room for a dozen tools and a long conversation
QUOTES = '"""'


def modelfile(gguf: str, plan: Plan, folder: ModelFolder) -> tuple[str, list[str]]:
    """The Modelfile's text for a GGUF file beside it, and what its template does otherwise than
    the model's own.

    Raises ModelError when the chat template cannot be turned into one of Ollama's.
    """
    vocabulary = plan.vocabulary
    named = plan.call_syntax
    syntax = formats.get(named) if named else formats.detect(plan.chat_template)
    eos = vocabulary.tokens[vocabulary.eos]
    template = go_template(plan.chat_template, syntax, {"eos_token": eos})
    lines = [
        f"FROM ./{gguf}",
        f"TEMPLATE {_quoted(template.text, folder)}",
        *(
            f'PARAMETER stop "{vocabulary.tokens[number]}"'
            for number in (vocabulary.eos, *vocabulary.other_ends)
        ),
        f"PARAMETER num_ctx {min(CONTEXT, plan.shape.context_length)}",
        "PARAMETER temperature 0",
    ]
    if text := _license(plan, folder):
        lines.append(f"LICENSE {_quoted(text, folder)}")
    return "".join(line + "\n" for line in [*(f"# {note}" for note in template.notes), *lines]), (
        template.notes
    )


def write_modelfile(out: Path, gguf: str, plan: Plan, folder: ModelFolder) -> list[str]:
    """Writes `out/Modelfile`; returns what `modelfile` does."""
    text, notes = modelfile(gguf, plan, folder)
    write_text(out / FILE, text)
    return notes


def _quoted(text: str, folder: ModelFolder) -> str:
    if QUOTES in text:
        raise ModelError(f'{folder.path}: its chat template or licence holds {QUOTES}, '
                         "which a Modelfile cannot; leave --ollama out")  # fmt: skip
    return f"{QUOTES}{text}{QUOTES}"


def _license(plan: Plan, folder: ModelFolder) -> str | None:
    """The licence in the model's folder, else its name."""
    if file := folder.find("LICENSE"):
        return file.read_text(encoding="utf-8", errors="replace").strip()
    return plan.metadata.license
