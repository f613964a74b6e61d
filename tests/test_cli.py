"""The door as a user meets it: exit codes, messages, nothing half-written, and the whole job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgetool.data.rows import write_rows


def edgetool(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)


USAGE_ERRORS = [
    (["train", "--config", "none.yaml"], "no configuration at none.yaml"),
    (["sft", "--config", "none.yaml"], "no configuration at none.yaml"),
    (["train"], "nothing says what to train"),
    (["merge", "runs/none"], "runs/none is not a run folder"),
    (["eval", "runs/none", "--data", "demo"], "runs/none is not a run folder"),
    (["eval", "x.gguf", "--data", "demo", "--base"], "--base needs a run folder"),
    (["demo", "--model", "smol"], "adapters here are of smollm2"),
    (["demo", "--model", "smollm2", "--gguf", "none.gguf"], "type `scripts/real_model smollm2`"),
    (["demo", "--model", "smollm2", "--max-steps", "3"], "smollm2 comes trained; leave it out"),
    (["demo", "--gguf", "x.gguf"], "goes with --model smollm2"),
    (["export", "nano"], "say where to write with --out FOLDER"),
    (["eval", "x.gguf", "--data", "none.jsonl"], "no rows at none.jsonl"),
    (["reward", "try", "--completion", "x"], "no rows to take one from"),
    (["reward", "try", "--data", "demo", "--row", "x", "--completion", "x"], "has no row 'x'"),
    (["reward", "try", "--data", "none.jsonl", "--completion", "x"], "no rows at none.jsonl"),
    (
        ["reward", "try", "--data", "demo", "--reward", "papr", "--completion", "x"],
        "did you mean 'paper'",
    ),
    (["nonsense"], "No such command"),
    (["plan", "Qwen3-0.6"], "did you mean Qwen3-0.6B"),
    (["plan", "nano", "--vram", "0"], "--vram 0: expected GiB"),
    (["plan", "Qwen2.5-3B-Instruct", "--vram", "2"], "edgetool plan "),
    (["plan", "xLAM-2-1b-fc-r"], "is for evaluation only: its licence"),
    (["models", "lama-3.2-1b-instruct"], "did you mean Llama-3.2-1B-Instruct"),
    (["init", "x.yaml", "--recipe", "none"], "known: slm-tool-use"),
    (["train", "--config", "none.yaml", "--dry-run"], "no configuration at none.yaml"),
    (["run", "none.gguf", "hello"], "none.gguf: no such file; give a GGUF file, a run folder"),
    (["serve", "none"], "none: no such file; give a GGUF file, a run folder"),
    (["inspect", "none.gguf"], "none.gguf: no such file"),
    (["export", "./none", "--out", "x"], "none: no such model folder"),
]


@pytest.mark.parametrize(("arguments", "complaint"), USAGE_ERRORS, ids=lambda v: str(v)[:40])
def test_what_cannot_work_as_typed_exits_with_2_and_says_why(tmp_path, arguments, complaint):
    done = edgetool(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_the_exit_codes_mean(tmp_path):
    said = " ".join(edgetool("--help", cwd=tmp_path).stdout.split())
    assert "Exit codes: 0 done; 1 the work failed, or what was checked has faults; 2 the" in said


def test_ctrl_c_exits_with_130_and_no_traceback(tmp_path):
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        "from edgetool import cli\n"
        "@cli.app.command()\n"
        "def wait(): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['edgetool', 'wait']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(tmp_path):
    command = f"{sys.executable} -m edgetool models --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[", "")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    done = edgetool("init", "/proc/none/x.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("edgetool: /proc/none") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("at", [0, 1, 3])
def test_verbose_shows_where_an_error_came_from_wherever_it_stands(tmp_path, at):
    words = ["train", "--config", "none.yaml"]
    words.insert(at, "--verbose")
    done = edgetool(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "no configuration at none.yaml" in done.stderr


def configuration(tmp_path: Path, model: Path, **changes: object) -> Path:
    import yaml

    grpo = {"num_generations": 2, "prompts_per_step": 2, "max_steps": 2, "max_completion_length": 8}
    values = {
        "model": str(model),
        "output_dir": str(tmp_path / "runs" / "tiny"),
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "lora": {"r": 2, "lora_alpha": 4},
        "grpo": {**grpo, "gradient_checkpointing": False},
        **changes,
    }
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_model_that_cannot_become_gguf_is_said_before_training(tmp_path, tiny_model, examples):
    import shutil

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    config["architectures"] = ["MambaForCausalLM"]
    (model / "config.json").write_text(json.dumps(config))
    write_rows(tmp_path / "rows.jsonl", examples)
    done = edgetool("train", "--config", configuration(tmp_path, model), cwd=tmp_path)
    assert done.returncode == 1
    assert "MambaForCausalLM" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_bad_rows_stop_a_run_before_it_leaves_anything(tmp_path, tiny_model):
    (tmp_path / "rows.jsonl").write_text("{\n[]\n")
    done = edgetool("train", "--config", configuration(tmp_path, tiny_model), cwd=tmp_path)
    assert done.returncode == 1
    assert "rows.jsonl:1: " in done.stderr and "rows.jsonl:2: " in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_warm_start_and_grpo_from_it_with_one_configuration(tmp_path, tiny_model, examples):
    write_rows(tmp_path / "rows.jsonl", examples)
    config = configuration(tmp_path, tiny_model, sft={"max_steps": 1})
    warm = tmp_path / "runs" / "warm"
    for step in (
        ["sft", "--config", config, "--set", f"output_dir={warm}"],
        ["train", "--config", config, "--init-adapter", warm],
    ):
        done = edgetool(*step, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    refused = edgetool("train", "--config", config, "--init-adapter", "none", cwd=tmp_path)
    assert refused.returncode == 2 and "holds a run already" in refused.stderr
    facts = json.loads((tmp_path / "runs" / "tiny" / "run.json").read_text())
    assert facts["init_adapter"] == str(warm / "adapter")
    assert (tmp_path / "runs" / "tiny" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "sft"])
def test_rows_become_an_adapter_a_gguf_and_a_report(tmp_path, tiny_model, examples, verb):
    write_rows(tmp_path / "rows.jsonl", examples)
    run = tmp_path / "runs" / "tiny"
    config = configuration(tmp_path, tiny_model, sft={"max_steps": 2})
    for step in (
        [verb, "--config", config],
        ["merge", run],
        ["export", run, "--gguf", "--quant", "Q8_0", "--quant", "Q4_K_M"],
        ["eval", run, "--data", tmp_path / "rows.jsonl", "--base", "--max-completion-length", 8],
        [
            "eval",
            run / "model.Q8_0.gguf",
            "--data",
            tmp_path / "rows.jsonl",
            "--arm",
            "constrained",
        ],
    ):
        done = edgetool(*step, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    report = json.loads((run / "eval" / "report.json").read_text())
    seen = {(row["model"], row["runtime"], row["arm"]) for row in report["rows"]}
    assert seen == {(m, "policy", a) for m in ("base", "trained") for a in ("free", "constrained")}
    assert json.loads((run / "receipt.json").read_text())["files"]


@pytest.mark.slow
def test_the_demo_does_the_whole_job_and_is_quick_the_second_time(tmp_path):
    for _ in range(2):
        done = edgetool("demo", "--max-steps", 1, "--rows", 8, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "already done" in done.stdout
    report = json.loads((tmp_path / "runs" / "demo" / "report.json").read_text())
    assert len(report["rows"]) == 12 and report["job_seconds"] > 0
    fidelity = report["fidelity"]["F16"]
    assert fidelity["prompt_parity"] == 1.0 and fidelity["greedy_agreement"] == 1.0
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()


@pytest.mark.slow
def test_what_init_writes_is_what_a_dry_run_plans(tmp_path):
    made = edgetool("init", "my.yaml", cwd=tmp_path)
    assert made.returncode == 0 and "edgetool train --config my.yaml --dry-run" in made.stdout
    planned = edgetool("train", "--config", "my.yaml", "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0 and "MiB planned" in planned.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


@pytest.mark.slow
def test_doctor_speaks_json_and_its_exit_code_is_its_verdict(tmp_path):
    done = edgetool("doctor", "--json", cwd=tmp_path)
    states = [row["state"] for row in json.loads(done.stdout)]
    assert done.returncode == ("fail" in states)


def test_models_as_json_says_which_can_be_trained(tmp_path):
    rows = json.loads(edgetool("models", "--json", cwd=tmp_path).stdout)
    trains = {row["name"]: row["trains"] for row in rows}
    assert trains["nano"] and trains["Qwen3-0.6B"] and not trains["Hammer2.1-0.5b"]
