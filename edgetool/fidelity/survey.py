"""What an export finds out on the way: a reference, a merge target, an importance matrix.

torch is only imported where something is measured: a plain model is exported without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edgetool.activity import busy
from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.calls.types import Example
from edgetool.catalogue import locate
from edgetool.data import sources
from edgetool.errors import UsageError
from edgetool.export import adapter_gguf, imatrix
from edgetool.export.export import REFERENCE, Judgement
from edgetool.export.gguf.writer import Plan
from edgetool.export.imatrix import ImportanceMatrix
from edgetool.export.model_folder import ModelFolder, resolve
from edgetool.export.plan import check_exportable, make_plan
from edgetool.export.weights import MERGE_INTO, MERGE_TARGETS, TrainedWeights
from edgetool.fidelity.merge_choice import AUTO, MergeChoice, choose
from edgetool.fidelity.receipt_table import receipt_table
from edgetool.fidelity.reference import Reference, StageResult
from edgetool.files import sha256_of
from edgetool.gguf_header import is_gguf
from edgetool.run_folder import RunFolder
from edgetool.runtime import Sampling

if TYPE_CHECKING:
    from edgetool.train.policy import Policy

HELD_OUT_ROWS = 200  # of which one is half a point
IMATRIX_ROWS = 512
BESIDE = "base + adapter"  # a stage


@dataclass(frozen=True)
class Subject:
    """What is exported: a run's trained model, or a model as it is.

    merge_into    what the adapter was trained on
    template      the chat template, as `template_choice.choose` is asked for one
    """

    base: Path
    adapter: Path | None
    run: RunFolder | None
    merge_into: str
    policy_dtype: str = "float32"
    finetune: str | None = None
    call_syntax: str | None = None
    template: str | None = None
    thinking: bool = False

    @classmethod
    def of_run(cls, run: RunFolder) -> Subject:
        base, dtype = Path(run.facts["base"]), run.facts["policy_dtype"]
        rounded = run.config.load_in_4bit and not is_gguf(base)
        target = MERGE_INTO if rounded else "base"
        name, config = run.path.resolve().name, run.config
        syntax, thinking = config.call_syntax, config.thinking
        return cls(
            base, run.adapter, run, target, dtype, name, syntax, run.template, thinking=thinking
        )

    @classmethod
    def at(cls, path: str, template: str | None = None, *, exportable: bool = True) -> Subject:
        """A run folder, or a model by name, folder or hub id.

        template     of a model; a run keeps the one it was trained with
        exportable   refuse a model that `export_gguf` would refuse
        """
        if (Path(path) / "run.json").is_file():
            if template is not None:
                raise UsageError(
                    f"--template {template}: {path} keeps the template it was trained with; leave "
                    "the option out, or train with another one"
                )
            subject = cls.of_run(RunFolder.open(Path(path)))
            if exportable:
                check_exportable(subject.base, subject.template)
            return subject
        found = locate(path)
        base = check_exportable(found, template) if exportable else resolve(found)
        return cls(base, None, None, "base", template=template)

    @property
    def beside_base(self) -> bool:
        """It is an adapter that goes beside the GGUF file it was trained on."""
        return self.adapter is not None and is_gguf(self.base)

    def policy(self) -> Policy:
        from edgetool.fidelity import stages
        from edgetool.run_folder import open_policy

        return open_policy(self.run, trained=True) if self.run else stages.load_plain(self)

    def weights(self, merge_into: str) -> TrainedWeights:
        return TrainedWeights.open(self.base, self.adapter, merge_into, self.policy_dtype)

    def plan(self) -> Plan:
        weights = self.weights(self.merge_into)
        return make_plan(
            weights,
            name=None,
            finetune=self.finetune,
            call_syntax=self.call_syntax,
            template=self.template,
            thinking=self.thinking,
        )

    def chat_template(self) -> ChatTemplate:
        """Raises ModelError where no template shows tools."""
        return ModelFolder.open(self.base).choose_template(self.template)

    @property
    def sampling(self) -> Sampling:
        if self.run is None:
            return Sampling()
        return Sampling(max_completion_length=self.run.config.grpo.max_completion_length)


@dataclass(frozen=True)
class HeldOut:
    """Rows to measure on. why: there are none."""

    source: str | None
    examples: Sequence[Example] = ()
    why: str | None = None

    def as_json(self) -> dict[str, Any]:
        found = {"source": self.source, "rows": len(self.examples)}
        return found | ({"why": self.why} if self.why else {})


def held_out(subject: Subject, data: str | None, rows: int | None) -> HeldOut:
    """The rows of --data, or the run's own."""
    if rows == 0:
        return HeldOut(data, why="not asked for: --rows 0")
    limit = rows
    if data is None and subject.run is not None:
        data, own = subject.run.validation()
        limit = rows or own
    if data is None:
        return HeldOut(None, why="no held-out rows were named; give some with --data rows.jsonl")
    return HeldOut(data, sources.load(data, "validation", limit or HELD_OUT_ROWS))


@dataclass
class Survey:
    """What was found, stage by stage; `judge` is given to the export.

    merged   what the adapter computes once it is added: merged in torch, or beside its GGUF base
    """

    merge_into: str
    rows: HeldOut
    max_drop: float | None
    console: Console
    reference: Reference | None = None
    merged: StageResult | None = None
    choice: MergeChoice | None = None
    importance: ImportanceMatrix | None = None
    imatrix_note: dict[str, Any] | None = None
    results: list[StageResult] = field(default_factory=list)

    @property
    def notes(self) -> dict[str, Any]:
        """The receipt's entries that are known before the files are."""
        found: dict[str, Any] = {"held_out": self.rows.as_json(), "measured": []}
        if self.choice:
            found["merge_choice"] = self.choice.as_json()
        if self.imatrix_note:
            found["imatrix"] = self.imatrix_note
        return found

    @property
    def before(self) -> list[StageResult]:
        """The stages before any file."""
        found = (self.reference and self.reference.result, self.merged)
        return [result for result in found if result]

    def judge(self, files: Mapping[str, Path]) -> Judgement:
        """Measure every file, the reference first, and reject what loses too much."""
        from edgetool.fidelity import stages

        reference = self.reference
        assert reference is not None, "only a survey with held-out rows judges"
        self.results = self.before
        for name in sorted(files, key=lambda quant: quant != REFERENCE):
            with (
                busy(self.console, f"{name}: {len(self.rows.examples)} rows"),
                stages.gguf_stage(files[name], name, reference.context) as stage,
            ):
                self.results.append(reference.measure(stage))
        rejected = [
            result.step for result in self.results
            if result.step in files and self._drop(result) > self._allowed
        ]  # fmt: skip
        self.console.print(receipt_table(self.results, rejected))
        for result in self.results:
            if result.other_prompts:
                named = ", ".join(result.other_prompts)
                self.console.print(f"{result.step}: prompts with other token ids, first: {named}")
        measured: dict[str, Any] = {"measured": [result.as_json() for result in self.results]}
        measured["max_drop"] = self.max_drop
        if self.merged and self.merged.step == BESIDE:
            measured["ship"] = self._which_to_ship(files)
        return Judgement(rejected, measured)

    def _which_to_ship(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """The base with its adapter, or a merged file that loses fewer rows."""
        candidates = [result for result in self.results if result.step in (BESIDE, *files)]
        best = choose({result.step: result for result in candidates})
        lost = ", ".join(f"{name} loses {one.lost}" for name, one in best.results.items())
        self.console.print(
            f"ship {best.chosen}: of the adapter's right rows {lost}; decided by {best.by}"
        )
        return {"chosen": best.chosen, "by": best.by}

    def _drop(self, result: StageResult) -> float:
        """Points of exact match lost against the adapter."""
        assert self.reference is not None
        return 100 * (self.reference.result.exact - result.exact) / result.rows

    @property
    def _allowed(self) -> float:
        return float("inf") if self.max_drop is None else self.max_drop + 1e-9


def survey(
    subject: Subject,
    rows: HeldOut,
    console: Console,
    *,
    out: Path,
    merge_into: str | None,
    imatrix_rows: str | None,
    max_drop: float | None,
) -> Survey:
    """Everything that needs torch, one model in memory at a time.

    Raises UsageError when `auto` or `max_drop` is asked for without rows to measure on.
    """
    _require_rows(rows, merge_into, max_drop)
    found = Survey(merge_into or subject.merge_into, rows, max_drop, console)
    if rows.examples or imatrix_rows:
        _with_policy(subject, found, out, imatrix_rows)
    if rows.examples and subject.beside_base:
        _with_beside(subject, found, out / adapter_gguf.FILE)
    elif rows.examples and subject.adapter:
        _with_merged(subject, found, merge_into)
    return found


def _require_rows(rows: HeldOut, merge_into: str | None, max_drop: float | None) -> None:
    if merge_into not in (None, AUTO, *MERGE_TARGETS):
        known = ", ".join((AUTO, *MERGE_TARGETS))
        raise UsageError(f"--merge-into {merge_into}: is not one of {known}")
    if max_drop is not None and max_drop < 0:
        raise UsageError(f"--max-drop {max_drop}: expected a number of points, 0 or more")
    for option, asked in (("--merge-into auto", merge_into == AUTO), ("--max-drop", max_drop)):
        if asked not in (None, False) and not rows.examples:
            raise UsageError(f"{option} needs held-out rows to measure on: {rows.why}")


def _with_policy(subject: Subject, found: Survey, out: Path, imatrix_rows: str | None) -> None:
    """The reference, and the activations of the model's own completions."""
    from edgetool.fidelity import stages

    started = time.perf_counter()
    policy = subject.policy()
    seconds = time.perf_counter() - started
    if found.rows.examples:
        name = "adapter" if subject.adapter else "model"
        with busy(found.console, f"{name}: {len(found.rows.examples)} rows"):
            stage = stages.policy_stage(policy, name, seconds, subject.adapter or subject.base)
            gold = stages.gold_ids(policy, found.rows.examples)
            found.reference = Reference.of(stage, found.rows.examples, gold, subject.sampling)
    if imatrix_rows:
        examples = sources.load(imatrix_rows, "train", IMATRIX_ROWS)
        with busy(found.console, f"importance matrix: {len(examples)} rows"):
            found.importance = _importance(policy, subject, examples, Path(imatrix_rows).name)
        out.mkdir(parents=True, exist_ok=True)
        found.importance.write(out / imatrix.FILE)
        found.imatrix_note = _describe(found.importance, out / imatrix.FILE) | {
            "rows_also_held_out": _overlap(examples, found.rows.examples)
        }


def _importance(
    policy: Policy, subject: Subject, examples: Sequence[Example], dataset: str
) -> ImportanceMatrix:
    """Over each prompt and what the model itself writes behind it."""
    from edgetool.train.runtime import PolicyRuntime

    runtime = PolicyRuntime(policy)
    sequences = (
        [*runtime.prompt_ids(examples[number]), *completion.token_ids]
        for number, completion in runtime.generate(examples, subject.sampling)
    )
    names = {source: name for name, source in subject.plan().sources.items()}
    return imatrix.collect(policy.causal, sequences, names, dataset)


def _describe(matrix: ImportanceMatrix, path: Path) -> dict[str, Any]:
    return {
        "path": path.name,
        "size": path.stat().st_size,
        "sha256": sha256_of(path),
        "dataset": matrix.dataset,
        "rows": matrix.rows,
        "tokens": matrix.tokens,
    }


def _overlap(some: Sequence[Example], others: Sequence[Example]) -> int:
    """Rows of `some` whose conversation is among `others`: what was tuned on is no test."""
    seen = {json.dumps(example.messages, sort_keys=True) for example in others}
    return sum(json.dumps(example.messages, sort_keys=True) in seen for example in some)


def _with_merged(subject: Subject, found: Survey, merge_into: str | None) -> None:
    """The merged model, into one target or into both."""
    from edgetool.fidelity import stages

    reference = found.reference
    assert reference is not None, "the policy came first"
    targets = _targets(subject, merge_into)
    started = time.perf_counter()
    policy = stages.load_plain(subject)
    results = {}
    for target in targets:
        with busy(found.console, f"merged into {target}: {len(found.rows.examples)} rows"):
            stages.fill(policy, subject.weights(target))
            seconds = time.perf_counter() - started
            stage = stages.policy_stage(policy, "merged", seconds)
            results[target] = reference.measure(stage)
            started = time.perf_counter()
    if merge_into == AUTO:
        found.choice = choose(results)
        found.merge_into = found.choice.chosen
        found.console.print(found.choice.summary)
    found.merged = results[found.merge_into]


def _with_beside(subject: Subject, found: Survey, lora: Path) -> None:
    """The base as it is in llama.cpp, with the adapter's file on it."""
    from edgetool.fidelity import stages

    assert found.reference is not None, "the policy came first"
    prompting = {
        "template": subject.template, "call_syntax": subject.call_syntax,
        "thinking": subject.thinking,
    }  # fmt: skip
    context = found.reference.context
    with (
        busy(found.console, f"{BESIDE}: {len(found.rows.examples)} rows"),
        stages.gguf_stage(subject.base, BESIDE, context, lora, **prompting) as stage,
    ):
        found.merged = found.reference.measure(stage)


def _targets(subject: Subject, merge_into: str | None) -> Sequence[str]:
    if merge_into != AUTO:
        return [merge_into or subject.merge_into]
    # A policy that was not quantized was trained on the base itself: there is nothing to choose.
    return MERGE_TARGETS if subject.merge_into == MERGE_INTO else ["base"]
