"""`edgetool export --adapter-only`: LoRA as GGUF, tried out beside a base GGUF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edgetool.commands.common import say_file
from edgetool.errors import UsageError
from edgetool.export.adapter_gguf import RECEIPT, export_adapter
from edgetool.export.parity import llama_logits, summarize
from edgetool.export.receipt import ExportedFile, Source, record_fidelity, write_receipt
from edgetool.export.tokenizer.probes import PROBES
from edgetool.fidelity.receipt_table import receipt_table
from edgetool.fidelity.survey import HeldOut, Subject, Survey
from edgetool.gguf_base.adapter import require_base

if TYPE_CHECKING:
    from edgetool.train.policy import Policy

PROMPTS = 32


def run_adapter_only(
    subject: Subject, out: Path, rows: HeldOut, beside: Path | None, console: Console
) -> ExportedFile:
    """Writes adapter.gguf and its receipt; with a base GGUF, the two are compared with the merged
    model, logit by logit. Raises UsageError for a model that has no adapter."""
    file = write_adapter(subject, out, console)
    receipt = _vouch(subject, out, file)
    if subject.merge_into != "base":
        console.print(
            "it was trained on NF4-rounded weights; beside a base GGUF it computes what "
            "`edgetool export --merge-into base` does"
        )
    if (chosen := subject.chat_template()).replaced:
        console.print(
            f"a base GGUF has its own chat template, which shows no tools; serve it with "
            f"--template {chosen.name}",
            markup=False,
        )
    if beside is None:
        console.print("not tried out: name a base GGUF with --beside to compare the two")
        return file
    with console.status(f"{file.path.name} beside {beside.name}"):
        found = _compare(subject, file.path, rows, beside)
    record_fidelity(receipt, "beside", found)
    console.print(
        f"beside {beside.name}: the merged model's likeliest token at "
        f"{100 * found['argmax_agreement']:.2f} % of {found['positions']} positions, largest "
        f"difference {100 * found['relative']:.3f} % of the logits' range"
    )
    return file


def write_adapter(subject: Subject, out: Path, console: Console) -> ExportedFile:
    """adapter.gguf. Raises UsageError for a model that has no adapter."""
    if subject.adapter is None:
        raise UsageError("--adapter-only needs a run: a plain model has no adapter")
    file = export_adapter(
        subject.base, subject.adapter, out, finetune=subject.finetune, template=subject.template
    )
    say_file(file, console)
    return file


def _vouch(
    subject: Subject, out: Path, file: ExportedFile, notes: Mapping[str, Any] | None = None
) -> Path:
    """adapter.receipt.json: which base, by its SHA-256, and what was measured."""
    assert subject.adapter is not None, "it has just been written"
    source = Source(subject.base, subject.adapter, "base", subject.policy_dtype)
    return write_receipt(out, source, [file], notes, name=RECEIPT)


def finish_beside(
    subject: Subject, out: Path, file: ExportedFile, found: Survey, console: Console
) -> None:
    """The receipt of an adapter beside its GGUF base, and what to type next."""
    measured = {"measured": [result.as_json() for result in found.before]}
    _vouch(subject, out, file, {**found.notes, **measured})
    if found.before:
        console.print(receipt_table(found.before))
    chosen = subject.chat_template()
    named = f" --template {subject.template}" if chosen.replaced and subject.template else ""
    console.print(
        f"{subject.base} stays as it is; next: edgetool serve {subject.base} --adapter "
        f"{file.path}{named}",
        markup=False,
    )


def _compare(subject: Subject, lora: Path, rows: HeldOut, beside: Path) -> dict[str, Any]:
    """llama.cpp with both files against transformers with the adapter merged into the base."""
    from edgetool.fidelity import stages

    require_base(lora, beside)
    policy = stages.load_plain(subject)
    prompts = _prompts(policy, rows)
    stages.fill(policy, subject.weights("base"))
    theirs = llama_logits(beside, prompts, lora=lora)
    fidelity = summarize(zip(_logits(policy, prompts), theirs, strict=True))
    return {**fidelity.as_json(), "base": beside.name, "prompts": len(prompts)}


def _prompts(policy: Policy, rows: HeldOut) -> list[list[int]]:
    """The rows' prompts; without rows, texts of all kinds."""
    if rows.examples:
        make = policy.prompter.ids
        return [make(row.messages, row.tools) for row in rows.examples[:PROMPTS]]
    return [list(policy.prompter.encode(text)) for text in PROBES]


def _logits(policy: Policy, prompts: Sequence[Sequence[int]]) -> Iterator[Any]:
    import torch

    with policy.decoding() as network:
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=policy.device)
            hidden = network.hidden(ids).last_hidden_state[0]
            yield network.logits(hidden).cpu().numpy()
