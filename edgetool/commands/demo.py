"""Train, export, evaluate and report on the embedded default.

With --model smollm2 nothing is trained: the adapter that comes with edgetool is measured on top of
your SmolLM2 file.

Rows -> GRPO on a 4-bit base with LoRA -> adapter -> merged -> GGUF -> llama.cpp -> report, with
base and trained, policy and shipped files, free and constrained decoding side by side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from edgetool.calls.types import Example
from edgetool.catalogue import NANO
from edgetool.commands.about import about_run, sizes, task, typed
from edgetool.commands.common import console, group
from edgetool.commands.targets import gguf_runtime, policy_runtime
from edgetool.commands.train import run_training
from edgetool.config import Config, build_config
from edgetool.data import demo as demo_rows
from edgetool.data import sources
from edgetool.data.rows import write_rows
from edgetool.errors import EdgetoolError, UsageError
from edgetool.eval.evaluate import ArmResult
from edgetool.export.receipt import record_fidelity
from edgetool.files import write_text
from edgetool.run_folder import RunFolder, open_policy
from edgetool.runtime import CONSTRAINED, FREE, Sampling, in_order
from edgetool.system import peak_resident_mb, tune

SHIPPED = ("Q8_0", "Q4_K_M")
REFERENCE = "F16"
ARMS = (FREE, CONSTRAINED)
LOGIT_PROMPTS = 32  # prompts whose every logit is compared; agreement is measured on all rows

app = group()


@app.command(help=__doc__)
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/demo, or runs/demo-smollm2.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Shorten or lengthen it.")] = None,
    rows: Annotated[int | None, typer.Option(help="Validation rows to evaluate.")] = None,
    model: Annotated[str, typer.Option(help="nano is trained; smollm2 comes trained.")] = NANO,
    gguf: Annotated[Path | None, typer.Option(help="Where smollm2's base file is.")] = None,
) -> None:
    if model != NANO:
        from edgetool.commands.demo_adapter import run_adapter_demo

        if max_steps is not None:
            raise UsageError(f"--max-steps {max_steps}: {model} comes trained; leave it out")
        run_adapter_demo(model, gguf, out or Path(f"runs/demo-{model}"), rows, console())
        return
    if gguf is not None:
        raise UsageError(f"--gguf {gguf}: goes with --model smollm2")
    run_demo(
        demo_config(out or Path("runs/demo"), max_steps=max_steps, validation_rows=rows), console()
    )


def demo_config(
    output_dir: Path, *, max_steps: int | None = None, validation_rows: int | None = None
) -> Config:
    """demo.yaml, written to `output_dir`, with a length and a number of rows of one's own."""
    values = yaml.safe_load(files(__package__).joinpath("demo.yaml").read_text(encoding="utf-8"))
    values["output_dir"] = str(output_dir)
    if max_steps is not None:
        values["grpo"]["max_steps"] = max_steps
    if validation_rows is not None:
        values["data"]["validation_rows"] = validation_rows
    return build_config(values, "demo.yaml")


def run_demo(config: Config, console: Console) -> Path:
    """Do the whole job and return report.json. A finished demo is only shown again."""
    from edgetool.commands.export import export_run
    from edgetool.commands.merge import merge_run
    from edgetool.eval.report.report import write_report
    from edgetool.export.export import export_gguf

    folder = Path(config.output_dir)
    if (folder / "report.json").is_file():
        console.print(f"already done; remove {folder} to run it again")
        _show(folder / "report.json", console)
        return folder / "report.json"
    started = time.perf_counter()
    tune()
    examples = _lay_out_rows(config, folder, console)
    run = _train(config, folder, console)
    console.rule("export")
    merged = merge_run(run, folder / "merged")
    export_run(run, folder, (REFERENCE, *SHIPPED))
    export_gguf(Path(run.facts["base"]), None, folder / "base", SHIPPED)
    sampling = Sampling(max_completion_length=config.grpo.max_completion_length)
    fidelity = _measure_fidelity(folder, merged, examples, sampling)
    record_fidelity(folder / "receipt.json", REFERENCE, fidelity)
    console.rule("evaluate")
    arms = _evaluate(run, examples, sampling, console)
    report = write_report(
        folder,
        arms=arms,
        job_seconds=time.perf_counter() - started,
        metrics=run.metrics(),
        config=yaml.safe_load(config.dump()),
        fidelity={REFERENCE: fidelity, "peak_resident_mb": peak_resident_mb()},
        examples=examples,
        about={
            **about_run(run),
            **sizes([folder / f"model.{quant}.gguf" for quant in SHIPPED]),
            "task": task(config.data.validation, ()),
            "command": typed(),
        },
    )
    _show(report, console)
    return report


def _lay_out_rows(config: Config, folder: Path, console: Console) -> list[Example]:
    """Write the rows the demo uses where a user can read them; returns the validation rows."""
    train = sources.load(config.data.train, "train", config.data.train_rows)
    held_out = sources.load(config.data.validation, "validation", config.data.validation_rows)
    write_rows(folder / "data" / "train.jsonl", train)
    write_rows(folder / "data" / "validation.jsonl", held_out)
    tools = [tool.as_openai() for tool in demo_rows.tools()]
    write_text(folder / "data" / "tools.json", json.dumps(tools, indent=2) + "\n")
    console.print(f"{len(train)} rows to train on, {len(held_out)} held out: {folder}/data")
    return held_out


def _train(config: Config, folder: Path, console: Console) -> RunFolder:
    from edgetool.train.checkpoint import newest

    console.rule("train")
    if not (folder / "adapter").is_dir():
        resume = newest(folder / "checkpoints") is not None
        if run_training(config, console, resume=resume).interrupted:
            raise EdgetoolError("stopped; `edgetool demo` goes on where it was")
    return RunFolder.open(folder)


def _measure_fidelity(
    folder: Path, merged: Path, examples: Sequence[Example], sampling: Sampling
) -> dict[str, Any]:
    """The F16 file in llama.cpp against the merged folder in transformers."""
    from edgetool.export.parity import compare_logits, greedy_agreement
    from edgetool.llama.runtime import GGUFRuntime
    from edgetool.llama.session import LlamaSession
    from edgetool.train.load import LoadSettings, load_policy
    from edgetool.train.runtime import PolicyRuntime

    gguf = folder / f"model.{REFERENCE}.gguf"
    plain = PolicyRuntime(load_policy(merged, None, LoadSettings(load_in_4bit=False)))
    ours = [c.token_ids for c in in_order(plain.generate(examples, sampling))]
    with LlamaSession(gguf) as session:
        runtime = GGUFRuntime(session)
        theirs = [c.token_ids for c in in_order(runtime.generate(examples, sampling))]
        same_prompts = sum(plain.prompt_ids(e) == runtime.prompt_ids(e) for e in examples)
    prompts = [plain.prompt_ids(example) for example in examples[:LOGIT_PROMPTS]]
    return {
        **compare_logits(merged, gguf, prompts).as_json(),
        "prompt_parity": same_prompts / len(examples),
        "greedy_agreement": greedy_agreement(ours, theirs),
        "rows": len(examples),
    }


def _evaluate(
    run: RunFolder, examples: Sequence[Example], sampling: Sampling, console: Console
) -> list[ArmResult]:
    from edgetool.commands.eval import run_arms

    policy = open_policy(run, trained=True)
    runtime = policy_runtime(policy)
    with policy.reference():
        arms = run_arms(runtime, examples, "base", ARMS, sampling, console)
    arms += run_arms(runtime, examples, "trained", ARMS, sampling, console)
    for model, folder in (("base", run.path / "base"), ("trained", run.path)):
        for quant in SHIPPED:
            with gguf_runtime(folder / f"model.{quant}.gguf") as file:
                arms += run_arms(file, examples, model, ARMS, sampling, console)
    return arms


def _show(report: Path, console: Console) -> None:
    from edgetool.eval.report.tables import rich_table

    facts = json.loads(report.read_text(encoding="utf-8"))
    console.print(rich_table(facts["rows"]))
    for found in facts["differences"]:
        low, high = found["exact_match"]["ci95"]
        console.print(
            f"{found['runtime']} · {found['arm']}: trained - base "
            f"{found['exact_match']['points']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )
    folder = report.parent
    console.print(f"{facts['job_seconds']:.0f} seconds; report: {report.with_suffix('.html')}")
    tools = f"--tools {folder}/data/tools.json"
    console.print(f'try: edgetool run {folder} {tools} "play some jazz by Chet Baker"')
    console.print(f"or in a browser: edgetool serve {folder} {tools}")
