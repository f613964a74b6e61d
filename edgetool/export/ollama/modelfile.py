"""A Modelfile for Ollama: `ollama create NAME -f Modelfile` beside the GGUF file.

FROM, PARAMETER, LICENSE and on request TEMPLATE, as in docs/modelfile.md of Ollama. Without a
TEMPLATE Ollama runs the file's own chat template, whose prompt is the one of training; several call
syntaxes have no other way there. A TEMPLATE is for an Ollama too old for that.
"""

from __future__ import annotations

from pathlib import Path

from edgetool.calls import syntaxes
from edgetool.errors import ModelError
from edgetool.export.gguf.writer import Plan
from edgetool.export.model_folder import ModelFolder, inside
from edgetool.export.ollama.go_template import GoTemplate, go_template
from edgetool.files import write_text

FILE = "Modelfile"
CONTEXT = 4096  # room for a dozen tools and a long conversation
QUOTES = '"""'
LICENSES = ("LICENSE*", "LICENCE*", "license*")


def modelfile(
    gguf: str, plan: Plan, folder: ModelFolder, *, template: bool = False
) -> tuple[str, list[str]]:
    """The Modelfile's text for a GGUF file beside it, and what is to be said about it.

    template   write a TEMPLATE, too; the notes say what it does otherwise than the model's own

    Raises ModelError when the chat template cannot be turned into one of Ollama's.
    """
    vocabulary, notes = plan.vocabulary, []
    lines = [f"FROM ./{gguf}"]
    if template:
        translated = _template(plan)
        notes += translated.notes
        lines.append(f"TEMPLATE {_quoted(translated.text)}")
    for number in (vocabulary.eos, *vocabulary.other_ends):
        lines.append(f'PARAMETER stop "{vocabulary.tokens[number]}"')
    lines.append(f"PARAMETER num_ctx {min(CONTEXT, plan.shape.context_length)}")
    lines.append("PARAMETER temperature 0")
    licence = _license(folder)
    if licence and QUOTES in licence:
        notes.append(f"the licence holds {QUOTES}, which a Modelfile cannot; its name stands there")
        licence = None
    if named := licence or plan.metadata.license:
        lines.append(f"LICENSE {_quoted(named)}")
    return "".join(f"{line}\n" for line in [*(f"# {note}" for note in notes), *lines]), notes


def write_modelfile(
    out: Path, gguf: str, plan: Plan, folder: ModelFolder, *, template: bool = False
) -> list[str]:
    """Writes `out/Modelfile`; returns what is to be said about it."""
    text, notes = modelfile(gguf, plan, folder, template=template)
    write_text(out / FILE, text)
    return notes


def _template(plan: Plan) -> GoTemplate:
    named = plan.call_syntax
    syntax = syntaxes.get(named) if named else syntaxes.detect(plan.chat_template)
    eos = plan.vocabulary.tokens[plan.vocabulary.eos]
    found = go_template(plan.chat_template, syntax, {"eos_token": eos})
    if QUOTES in found.text:
        raise ModelError(
            f"the chat template holds {QUOTES}, which a Modelfile cannot; "
            "leave --ollama-template out"
        )
    return found


def _quoted(text: str) -> str:
    return f"{QUOTES}{text}{QUOTES}"


def _license(folder: ModelFolder) -> str | None:
    """The text of the licence in the model's folder."""
    files = [file for name in LICENSES for file in folder.path.glob(name) if file.is_file()]
    if not files:
        return None
    return (
        inside(folder.path, min(files).name).read_text(encoding="utf-8", errors="replace").strip()
    )
