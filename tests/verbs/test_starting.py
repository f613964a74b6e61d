"""`edgetool init` writes what `edgetool train --config` runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from edgetool.config import load_config
from edgetool.errors import UsageError
from edgetool.train.settings import RewardSettings
from edgetool.verbs.starting import PAPER_MODELS, run_init


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_the_default_is_nano_on_the_demo_rows(tmp_path):
    run_init(tmp_path / "my.yaml", quiet())
    config = load_config(tmp_path / "my.yaml")
    assert (config.model, config.data.train, config.output_dir) == ("nano", "demo", "runs/my")
    assert "# " in (tmp_path / "my.yaml").read_text()


def test_a_models_card_gives_the_settings_for_the_gpu(tmp_path):
    sizes = {}
    for vram in (8, 12):
        out = tmp_path / f"{vram}.yaml"
        run_init(out, quiet(), model="Qwen3-4B-Instruct-2507", data="rows.jsonl", vram=vram)
        grpo = load_config(out).grpo
        sizes[vram] = grpo.max_prompt_length * grpo.max_completion_length
    assert sizes[8] < sizes[12]


def test_a_gpu_no_card_speaks_of_is_planned_for(tmp_path):
    run_init(tmp_path / "x.yaml", quiet(), model="Qwen2.5-3B-Instruct", vram=6)
    assert load_config(tmp_path / "x.yaml").grpo.packed_tokens


@pytest.mark.parametrize("text", ["a: b", "# x", "it's", "yes", "[1]", 'say "hi"', " x "])
def test_names_that_mean_something_to_yaml_stay_text(tmp_path, text):
    run_init(tmp_path / "x.yaml", quiet(), data=text)
    assert load_config(tmp_path / "x.yaml").data.train == text


def test_a_file_that_is_there_is_kept_unless_told_otherwise(tmp_path):
    out = tmp_path / "my.yaml"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        run_init(out, quiet())
    assert out.read_text() == "mine"
    run_init(out, quiet(), force=True)
    assert load_config(out).model == "nano"


@pytest.mark.parametrize("model", [None, *PAPER_MODELS])
def test_the_paper_recipe_has_the_papers_numbers(tmp_path, model):
    run_init(tmp_path / "p.yaml", quiet(), model=model, recipe="slm-tool-use")
    config = load_config(tmp_path / "p.yaml")
    grpo = config.grpo
    assert config.model == model or model is None
    assert config.data.train_rows == 4000 and config.rewards == {"paper": RewardSettings()}
    assert config.lora.r == 64
    assert (grpo.learning_rate, grpo.lr_scheduler_type) == (5e-6, "cosine_with_restarts")
    assert (grpo.optim, grpo.gradient_accumulation_steps) == ("adamw_8bit", 4)
    assert (grpo.num_generations, grpo.max_steps) == (8, 500)
    assert grpo.max_completion_length == 8192


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"recipe": "nonsense"}, "known: slm-tool-use"),
        ({"recipe": "slm-tool-use", "model": "nano"}, "the paper has Qwen2.5-1.5B-Instruct"),
        ({"model": "Hammer2.1-0.5b"}, "CC-BY-NC-4.0"),
        ({"model": "Qwen2.5-0.5"}, "did you mean"),
        ({"model": "Qwen3-4B-Instruct-2507", "vram": 2}, "does not fit 2 GiB"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, options, complaint):
    with pytest.raises(UsageError, match=complaint):
        run_init(tmp_path / "x.yaml", quiet(), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_train_runs_what_init_wrote_for_a_step(tmp_path, monkeypatch):
    from edgetool.verbs.training import run_training

    monkeypatch.chdir(tmp_path)
    run_init(tmp_path / "my.yaml", quiet())
    assert yaml.safe_load((tmp_path / "my.yaml").read_text())["grpo"]["max_steps"] == 200
    config = load_config(tmp_path / "my.yaml", ["grpo.max_steps=1"])
    assert run_training(config, quiet()).adapter == Path("runs/my/adapter")
