"""Adapter + base -> GGUF files with a receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgetool.activity import busy
from edgetool.calls.prompt.thinking import THINKING_KEY, switch_of
from edgetool.calls.types import Tool
from edgetool.commands.chat_template import say_left_out, say_template
from edgetool.commands.common import TemplateOption, console, group, prepare, say_file
from edgetool.data.tool_files import load_tools
from edgetool.errors import EdgetoolError, UsageError
from edgetool.export import card
from edgetool.export.inspect import inspect_gguf
from edgetool.export.receipt import FILE, ExportedFile, read_receipt
from edgetool.files import require_writable, writing
from edgetool.run_folder import RunFolder
from edgetool.system import tune

if TYPE_CHECKING:
    from edgetool.export.gguf.quantize import Quant
    from edgetool.fidelity.survey import Subject

LITTLE = 0.5  # of the adapter's change; a file with less answers much like its base
PLAIN = ("--quant", "--merge-into")  # what --converter leaves to choose

app = group()


@app.command(help=__doc__)
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a model.")],
    gguf: Annotated[
        bool, typer.Option("--gguf", help="GGUF is the format, with this option or without.")
    ] = False,
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
        int | None, typer.Option(help="At most this many rows (200); 0 measures nothing.")
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
    merged: Annotated[
        bool,
        typer.Option("--merged", help="Of a run on a GGUF file: one file in that file's types."),
    ] = False,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="BASE.gguf", help="Compare --adapter-only with this base GGUF."),
    ] = None,
    ollama: Annotated[
        bool, typer.Option("--ollama", help="Write a Modelfile for Ollama, too.")
    ] = False,
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
        str | None, typer.Option(help="The publisher that LM Studio shows.")
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
    options = ExportOptions(
        quants=quant or (), out=out, merge_into=merge_into, data=data, rows=rows,
        imatrix=imatrix, max_drop=max_drop, adapter_only=adapter_only, merged=merged, beside=beside,
        ollama=ollama or ollama_template, ollama_template=ollama_template,
        lm_studio=lmstudio, warm=warm, template=template, converter=converter,
        publisher=publisher,
    )  # fmt: skip
    run_export(run, options, console())


@dataclass(frozen=True)
class ExportOptions:
    """What `edgetool export` is told.

    quants      none: Q4_K_M
    out         None: the run's own folder
    merge_into  auto | base | nf4; None: what the adapter was trained on
    data, rows  held-out rows to measure on, None: what the run's configuration names
    imatrix     rows for an importance matrix
    max_drop    points of exact match a file may lose against the adapter
    adapter_only, beside   only the adapter as GGUF, and a base GGUF to try it out with
    merged      of a run on a GGUF file: one file with each tensor in the type it has there
    ollama      write a Modelfile, too
    ollama_template   with a TEMPLATE, for an Ollama that runs no chat templates itself
    lm_studio   its models folder, to put the files into under `publisher` (None: ours)
    template    of a model, as `template_choice.choose` is asked for one
    converter   a llama.cpp checkout, whose script is used instead of edgetool's own export
    warm        tools.json whose part of the prompt is read now, and kept beside the files
    """

    quants: Sequence[str] = ()
    out: Path | None = None
    merge_into: str | None = None
    data: str | None = None
    rows: int | None = None
    imatrix: str | None = None
    max_drop: float | None = None
    adapter_only: bool = False
    merged: bool = False
    beside: Path | None = None
    ollama: bool = False
    ollama_template: bool = False
    lm_studio: Path | None = None
    publisher: str | None = None
    warm: Path | None = None
    template: str | None = None
    converter: Path | None = None


def run_export(path: str, options: ExportOptions, console: Console) -> list[ExportedFile]:
    """A run (or a plain model) -> GGUF files, measured, and their receipt.

    Raises EdgetoolError when a file lost more than `max_drop`, which is kept as `<name>.rejected`,
    and, before any work, when its folder cannot be written.
    """
    from edgetool.fidelity.survey import Subject

    _require_sense(options)
    tools = load_tools(options.warm) if options.warm else ()
    tune()
    subject = Subject.at(path, options.template, exportable=options.converter is None)
    say_template(subject.chat_template(), console)
    say_left_out(subject.base, console)
    out = _out_folder(path, subject, options)
    prepare(out, console, *_written())
    if options.lm_studio:
        require_writable(options.lm_studio.expanduser(), "--lmstudio")
    with writing(out):
        return _export(subject, out, options, tools, console)


def _written() -> tuple[str, ...]:
    """Everything an export writes into its folder, by name."""
    from edgetool.export import converter
    from edgetool.export.ollama import modelfile

    return ("*.gguf", "*.json", card.FILE, modelfile.FILE, converter.STAGING)


def _export(
    subject: Subject, out: Path, options: ExportOptions, tools: Sequence[Tool], console: Console
) -> list[ExportedFile]:
    from edgetool.commands.export_adapter import finish_beside, run_adapter_only, write_adapter
    from edgetool.commands.export_converter import run_converted
    from edgetool.commands.export_shipping import check_ollama
    from edgetool.export.export import QUANT
    from edgetool.fidelity.survey import held_out, survey

    if options.converter:
        files = run_converted(
            options.converter, subject, out, options.quants or (QUANT,), options.merge_into, console
        )
        _say_dropped(read_receipt(out / FILE).get("dropped", ()), console)
        return files
    rows = held_out(subject, options.data, options.rows)
    if options.adapter_only:
        return [run_adapter_only(subject, out, rows, options.beside, console)]
    if options.ollama:
        check_ollama(subject, template=options.ollama_template)
    if not rows.examples:
        console.print(f"not measured: {rows.why}")
    quants = _quants(subject, options)
    lora = write_adapter(subject, out, console) if subject.beside_base else None
    found = survey(
        subject, rows, console, out=out, merge_into=options.merge_into,
        imatrix_rows=options.imatrix, max_drop=options.max_drop,
    )  # fmt: skip
    if lora:
        finish_beside(subject, out, lora, found, console)
        if not quants:
            return [lora]
    files = _write(
        subject,
        out,
        quants,
        found.merge_into,
        importance=found.importance.weights if found.importance else None,
        judge=found.judge if rows.examples else None,
        notes={**found.notes, "chat_template": subject.chat_template().name},
        working=partial(busy, console),
    )
    _finish(files, subject, out, options, tools, console)
    return files


def _finish(
    files: Sequence[ExportedFile],
    subject: Subject,
    out: Path,
    options: ExportOptions,
    tools: Sequence[Tool],
    console: Console,
) -> None:
    """Say what was written, and what there is to know of it; then all that goes beside it."""
    from edgetool.commands.export_shipping import ship, warm_files
    from edgetool.export.lm_studio import PUBLISHER

    for file in files:
        say_file(file, console)
    _say_thinking(files[0].path, console)
    receipt = read_receipt(out / FILE)
    _say_tokens(receipt.get("tokens"), console)
    _say_dropped(receipt.get("dropped", ()), console)
    ship(
        files, subject, out, console, ollama=options.ollama,
        ollama_template=options.ollama_template, lm_studio=options.lm_studio,
        publisher=options.publisher or PUBLISHER,
    )  # fmt: skip
    if tools:
        warm_files([file.path for file in files if not file.rejected], tools, console)
    _say_swallowed(files, subject, console)
    _require_none_rejected(files, options)


def _quants(subject: Subject, options: ExportOptions) -> list[str | Quant]:
    """What whole files are written as; none where an adapter goes beside its base.

    Raises UsageError for options that are about such files, and for files that are not wanted.
    """
    from edgetool.export.export import QUANT
    from edgetool.export.gguf.quantize import quant_like
    from edgetool.gguf_base.reader import read_gguf
    from edgetool.gguf_header import is_gguf

    if options.merged and not subject.beside_base:
        raise UsageError(
            "--merged is for a run on a GGUF file; an export of any other is merged anyway"
        )
    own = [quant_like(read_gguf(subject.base))] if options.merged else []
    if own or options.quants:
        return [*own, *options.quants]
    if not is_gguf(subject.base):
        return [QUANT]
    if subject.run is None:
        raise UsageError(f"{subject.base} is a GGUF file already; name another --quant for it")
    for name, given in _of_files(options).items():
        if given:
            raise UsageError(
                f"{name} is about whole models, and this run's adapter goes beside "
                f"{subject.base}; add --merged, or a --quant, for a file of its own"
            )
    return []


def _of_files(options: ExportOptions) -> dict[str, Any]:
    """Options that are about whole files, as they were given."""
    return {
        "--quant": options.quants, "--merge-into": options.merge_into,
        "--imatrix": options.imatrix, "--max-drop": options.max_drop is not None,
        "--ollama": options.ollama, "--lmstudio": options.lm_studio, "--warm": options.warm,
    }  # fmt: skip


def _require_sense(options: ExportOptions) -> None:
    """Raises UsageError for options that would be ignored beside others."""
    from edgetool.commands.export_converter import require_no_others

    files_only = _of_files(options) | {"--merged": options.merged}
    if options.converter:
        require_no_others(
            {name: given for name, given in files_only.items() if name not in PLAIN}
            | {
                "--adapter-only": options.adapter_only, "--beside": options.beside,
                "--data": options.data, "--rows": options.rows,
            }
        )  # fmt: skip
    elif options.adapter_only:
        for option in (name for name, given in files_only.items() if given):
            raise UsageError(f"{option} is about whole models; leave it out with --adapter-only")
    elif options.beside:
        raise UsageError("--beside BASE.gguf goes with --adapter-only")


def _out_folder(path: str, subject: Subject, options: ExportOptions) -> Path:
    if options.out is None and subject.run is None:
        raise UsageError(f"{path} is a model, not a run; say where to write with --out FOLDER")
    return options.out or Path(path)


def _say_thinking(file: Path, console: Console) -> None:
    """A switch that the chat template has is set in the file for programs that do not set it."""
    if not file.is_file():
        return
    found = inspect_gguf(file)
    if switch := switch_of(found.template or ""):
        state = "on" if found.metadata.get(THINKING_KEY) else "off"
        console.print(f"thinking is {state} where a program does not set the template's {switch}")


def _say_tokens(tokens: Mapping[str, Any] | None, console: Console) -> None:
    """Of a tokenizer whose merges llama.cpp does not make one by one."""
    if tokens and tokens["other"] is not None:
        other = round(tokens["texts"] * (1 - tokens["same_tokens"]))
        console.print(
            f"tokenizer: llama.cpp cuts {other} of {tokens['texts']} texts of random pieces into "
            f"other tokens, {tokens['other']!r} for one; measure on rows of yours with --data",
            markup=False,
        )


def _say_dropped(dropped: Sequence[Mapping[str, Any]], console: Console) -> None:
    for entry in dropped:
        console.print(f"{FILE} lists {entry['path']} no more: {entry['why']}", markup=False)


def _say_swallowed(files: Sequence[ExportedFile], subject: Subject, console: Console) -> None:
    """Files whose quantization took most of the adapter away again, and what to type instead."""
    for file in files:
        if subject.run and file.adapter_kept is not None and file.adapter_kept < LITTLE:
            again = f"edgetool export {subject.run.path}"
            console.print(
                f"{file.path.name} keeps {file.adapter_kept:.0%} of the adapter's change: its "
                f"steps are larger. Ship base and adapter.gguf instead: {again}; or a larger "
                f"type: {again} --quant Q8_0",
                markup=False,
                soft_wrap=True,
            )


def _require_none_rejected(files: Sequence[ExportedFile], options: ExportOptions) -> None:
    rejected = [file for file in files if file.rejected]
    if rejected:
        raise EdgetoolError(
            f"{', '.join(file.quant for file in rejected)}: lost more than --max-drop "
            f"{options.max_drop} points against the adapter; kept as {rejected[0].path.name}. "
            "Try --imatrix with rows of yours, a larger --quant, or --merge-into auto"
        )


def export_run(
    run: RunFolder, out: Path, quants: Sequence[str], merge_into: str | None = None
) -> list[ExportedFile]:
    """GGUF files of a run's trained model, not measured; `merge_into` as for `merge_run`."""
    from edgetool.fidelity.survey import Subject

    subject = Subject.of_run(run)
    return _write(subject, out, quants, merge_into or subject.merge_into)


def _write(
    subject: Subject, out: Path, quants: Sequence[str | Quant], merge_into: str, **measured: Any
) -> list[ExportedFile]:
    """`export_gguf` of a subject; `measured`: its arguments that come of a survey."""
    from edgetool.export.export import export_gguf

    return export_gguf(
        subject.base,
        subject.adapter,
        out,
        quants,
        merge_into=merge_into,
        policy_dtype=subject.policy_dtype,
        finetune=subject.finetune,
        call_syntax=subject.call_syntax,
        template=subject.template,
        thinking=subject.thinking,
        **measured,
    )
