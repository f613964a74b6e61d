"""`edgetool init` writes what `edgetool train --config` runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from edgetool.calls.types import Example, ExpectedCall
from edgetool.commands.init import PAPER_MODELS, run_init
from edgetool.config import load_config
from edgetool.data.rows import load_rows, write_rows
from edgetool.data.split import split
from edgetool.errors import EdgetoolError, UsageError
from edgetool.train.settings import RewardSettings
from tests.conftest import user, weather_tool


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_the_default_is_nano_on_the_demo_rows(tmp_path):
    run_init(tmp_path / "my.yaml", quiet())
    config = load_config(tmp_path / "my.yaml")
    assert (config.model, config.data.train, config.output_dir) == ("nano", "demo", "runs/my")
    assert "# " in (tmp_path / "my.yaml").read_text()


def rows_at(path: Path, count: int = 3) -> str:
    """A file of rows that each ask for the weather of another town."""
    call = ExpectedCall("get_weather", {"city": "Oslo"})
    rows = [
        Example(f"r{i}", user(f"rain in {i}?"), (weather_tool(),), (call,)) for i in range(count)
    ]
    write_rows(path, rows)
    return str(path)


def asked(path: str) -> set[str]:
    return {row.utterance for row in load_rows(Path(path))}


def test_a_models_card_gives_the_settings_for_the_gpu(tmp_path):
    sizes = {}
    rows = rows_at(tmp_path / "rows.jsonl")
    for vram in (8, 12):
        out = tmp_path / f"{vram}.yaml"
        run_init(out, quiet(), model="Qwen3-4B-Instruct-2507", data=rows, vram=vram)
        grpo = load_config(out).grpo
        sizes[vram] = grpo.max_prompt_length * grpo.max_completion_length
    assert sizes[8] < sizes[12]


def test_a_gpu_no_card_speaks_of_is_planned_for(tmp_path):
    run_init(tmp_path / "x.yaml", quiet(), model="Qwen2.5-3B-Instruct", vram=6)
    assert load_config(tmp_path / "x.yaml").grpo.packed_tokens


@pytest.mark.parametrize("text", ["a: b", "# x", "it's", "yes", "[1]", 'say "hi"', " x "])
def test_names_that_mean_something_to_yaml_stay_text(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    rows_at(Path(text))
    run_init(tmp_path / "x.yaml", quiet(), data=text)
    assert load_config(tmp_path / "x.yaml").data.train == text


def started(tmp_path, data, **options):
    """What init wrote and what it said."""
    console = Console(file=io.StringIO(), width=1000)
    run_init(tmp_path / "my.yaml", console, data=data, force=True, **options)
    return load_config(tmp_path / "my.yaml").data, console.file.getvalue()


def test_rows_of_ones_own_are_measured_on_a_part_of_them_that_is_not_trained_on(tmp_path):
    rows = rows_at(tmp_path / "mine.jsonl", 300)
    data, said = started(tmp_path, rows)
    folder = tmp_path / "mine-split"
    assert (data.train, data.validation) == (
        str(folder / "train.jsonl"),
        str(folder / "validation.jsonl"),
    )
    train, held = asked(data.train), asked(data.validation)
    assert not train & held and train | held == asked(rows) and len(held) > 40
    assert (
        f"{len(held)} of 300 rows of {rows} are held out by utterance, in {data.validation}" in said
    )
    assert started(tmp_path, rows) == (data, said)


@pytest.mark.parametrize(
    ("train", "sibling"),
    [
        ("train.jsonl", "validation.jsonl"),
        ("my-train.jsonl", "my-dev.jsonl"),
        ("train_rows.jsonl", "test_rows.jsonl"),
        ("mine.jsonl", "mine-validation.jsonl"),
        ("mine.jsonl", "mine.val.jsonl"),
    ],
)
def test_a_sibling_is_what_rows_are_measured_on(tmp_path, train, sibling):
    rows = rows_at(tmp_path / train, 30)
    held = rows_at(tmp_path / sibling, 4)
    data, said = started(tmp_path, rows)
    assert (data.train, data.validation) == (rows, held)
    assert f"{held} (4 rows, beside {rows}; 4 of its utterances are trained on as well)" in said
    assert not list(tmp_path.glob("*-split"))


def test_what_data_split_wrote_is_taken_and_an_empty_part_is_not(tmp_path):
    split(Path(rows_at(tmp_path / "all.jsonl", 200)), tmp_path, {"train": 0.8, "validation": 0.2})
    data, said = started(tmp_path, str(tmp_path / "train.jsonl"))
    assert data.validation == str(tmp_path / "validation.jsonl") and "as well" not in said
    (tmp_path / "validation.jsonl").write_text("")
    data, _ = started(tmp_path, str(tmp_path / "train.jsonl"))
    assert data.validation == str(tmp_path / "train-split" / "validation.jsonl")


def test_a_neighbour_of_another_name_is_not_taken(tmp_path):
    rows = rows_at(tmp_path / "mine.jsonl", 100)
    rows_at(tmp_path / "validation.jsonl", 5)
    assert started(tmp_path, rows)[0].validation.endswith("mine-split/validation.jsonl")


@pytest.mark.parametrize("count", [1, 19])
def test_too_few_rows_are_not_split_and_that_is_said(tmp_path, count):
    rows = rows_at(tmp_path / "mine.jsonl", count)
    data, said = started(tmp_path, rows)
    assert data.train == data.validation == rows
    assert f"too few ({count} utterances) to hold some out, so figures will be of rows" in said
    assert "better: rows that are not trained on" in (tmp_path / "my.yaml").read_text()


def test_the_papers_recipe_holds_out_too(tmp_path):
    data, _ = started(tmp_path, rows_at(tmp_path / "mine.jsonl", 60), recipe="slm-tool-use")
    assert not asked(data.train) & asked(data.validation)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no rows at"),
        ("", "no rows in this file"),
        ("{", "is not JSON"),
        ("{}", "is missing"),
    ],
)
def test_rows_that_cannot_be_used_leave_no_configuration(tmp_path, text, complaint):
    path = tmp_path / "mine.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EdgetoolError, match=complaint):
        run_init(tmp_path / "my.yaml", quiet(), data=str(path))
    assert [one.name for one in tmp_path.iterdir()] == ["mine.jsonl"] * (text is not None)


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
    from edgetool.commands.train import run_training

    monkeypatch.chdir(tmp_path)
    run_init(tmp_path / "my.yaml", quiet())
    assert yaml.safe_load((tmp_path / "my.yaml").read_text())["grpo"]["max_steps"] == 200
    config = load_config(tmp_path / "my.yaml", ["grpo.max_steps=1"])
    assert run_training(config, quiet()).adapter == Path("runs/my/adapter")
