"""From adapter to file: merge, export, look inside, upload."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetool.commands.common import (
    MergeIntoOption,
    ModelArgument,
    RunArgument,
    TemplateOption,
    console,
    group,
)

app = group()


@app.command()
def merge(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/merged by default.")] = None,
    merge_into: MergeIntoOption = None,
) -> None:
    """Adapter + base -> an ordinary transformers folder."""
    from edgetool.verbs.exporting import run_merge

    run_merge(run, out, merge_into, console())


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a model.")],
    gguf: Annotated[bool, typer.Option("--gguf", help="Write GGUF (the only format).")] = True,
    quant: Annotated[
        list[str] | None,
        typer.Option(help="F16, Q8_0, Q4_K_M, ...; may be repeated. Q4_K_M by default."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; the run's own by default.")] = None,
    merge_into: Annotated[
        str | None,
        typer.Option(help="nf4 | base, see merge; auto: the better one on the held-out rows."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Held-out rows to measure on; the configuration's by default."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Only the first so many (200); 0 measures nothing.")
    ] = None,
    imatrix: Annotated[
        str | None,
        typer.Option(metavar="ROWS", help="Rows for an importance matrix."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Points of exact match a file may lose, or exit 1.")
    ] = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="LoRA as GGUF, for a base GGUF you have.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(metavar="BASE.gguf", help="Try --adapter-only out with it.")
    ] = None,
    ollama: Annotated[bool, typer.Option("--ollama", help="Write a Modelfile, too.")] = False,
    ollama_template: Annotated[
        bool,
        typer.Option(
            "--ollama-template",
            help="With a TEMPLATE, for an Ollama too old to run the file's own.",
        ),
    ] = False,
    lmstudio: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="LM Studio's models folder.")
    ] = None,
    publisher: Annotated[
        str | None, typer.Option(help="Whose models they are, for --lmstudio.")
    ] = None,
    template: TemplateOption = None,
    warm: Annotated[
        Path | None,
        typer.Option(metavar="TOOLS.json", help="Read these tools now, for a quick first token."),
    ] = None,
    converter: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A llama.cpp checkout; runs its own convert script."),
    ] = None,
) -> None:
    """Adapter + base -> GGUF files with a receipt."""
    from edgetool.verbs.exporting import ExportOptions, run_export

    options = ExportOptions(
        quants=quant or (), out=out, merge_into=merge_into, data=data, rows=rows,
        imatrix=imatrix, max_drop=max_drop, adapter_only=adapter_only, beside=beside,
        ollama=ollama or ollama_template, ollama_template=ollama_template,
        lm_studio=lmstudio, warm=warm, template=template, converter=converter,
        **({"publisher": publisher} if publisher else {}),
    )  # fmt: skip
    run_export(run, options, console())


@app.command()
def inspect(
    model: ModelArgument,
    json_: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="Every tensor, too.")] = False,
) -> None:
    """What a GGUF file holds, and whether its template shows tools."""
    from edgetool.commands.targets import gguf_of
    from edgetool.verbs.inspecting import run_inspect

    run_inspect(gguf_of(model), console(), as_json=json_, tensors=tensors)


@app.command()
def push(
    run: RunArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hugging Face repository.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it.")] = False,
) -> None:
    """Exported files to the Hugging Face hub, private unless asked."""
    from edgetool.verbs.pushing import run_push

    run_push(run, repo, console(), public=public)
