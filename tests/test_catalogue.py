"""The cards: right shapes, whole files, and names that are found."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgetool import catalogue
from edgetool.calls import syntaxes
from edgetool.catalogue import Card, read_card
from edgetool.errors import ModelError, UsageError
from edgetool.train.memory.model_shape import Shape

CARDS = catalogue.cards()
TRAINED = [card for card in CARDS if card.shape is not None]
NAMES = {
    "Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B-Instruct-2507", "Qwen2.5-0.5B-Instruct",
    "Qwen2.5-1.5B-Instruct", "Qwen2.5-3B-Instruct", "Llama-3.2-1B-Instruct",
    "Llama-3.2-3B-Instruct", "SmolLM2-135M-Instruct", "SmolLM2-360M-Instruct",
    "SmolLM2-1.7B-Instruct", "SmolLM3-3B", "Granite-4.0-350m", "Granite-4.0-Micro",
    "gemma-3-270m-it", "gemma-3-1b-it", "FunctionGemma-270m", "nano",
}  # fmt: skip
ONE_OF_EACH = {
    "nano", "Qwen3-0.6B", "SmolLM2-135M-Instruct", "gemma-3-270m-it", "Granite-4.0-350m",
    "SmolLM3-3B",
}  # fmt: skip
each = pytest.mark.parametrize("card", TRAINED, ids=lambda card: card.name)
built = [
    pytest.param(c, marks=[] if c.name in ONE_OF_EACH else [pytest.mark.slow], id=c.name)
    for c in TRAINED
]


def meta_model(card: Card) -> Any:
    """transformers' own model of the card's shape, without memory for weights."""
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**(card.shape or {})))


def test_every_model_that_is_promised_has_a_card():
    assert {card.name for card in TRAINED} == NAMES


@each
def test_a_shape_adds_up_to_the_published_parameter_count(card):
    assert Shape.of(card.shape, card.name).parameters == card.parameters


@pytest.mark.parametrize("card", built)
def test_a_shape_is_enough_to_build_the_model_and_says_what_transformers_builds(card):
    torch = pytest.importorskip("torch")
    model, shape = meta_model(card), Shape.of(card.shape, card.name)
    head = model.get_output_embeddings()
    linears = [
        (name.rpartition(".")[2], layer.in_features, layer.out_features, layer.bias is not None)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
    told = [(one.name, one.inputs, one.outputs, one.bias) for one in shape.linears]
    assert type(model).__name__ == card.architecture
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert sorted(linears) == sorted(told * shape.layers)
    assert set(card.lora_targets) == {one.name for one in shape.linears}


@each
def test_recommended_settings_are_the_planners_own(card):
    pytest.importorskip("torch")
    from edgetool.commands.plan import recommendation

    assert set(card.recommended) == {8, 12}
    for memory, told in card.recommended.items():
        assert recommendation(card.name, memory) == told, "run scripts/update_cards.py"


@each
def test_measured_memory_is_what_the_benchmark_wrote_down(card):
    pytest.importorskip("torch")
    sys.path.insert(0, str(catalogue.folder().parent))
    from scripts.update_cards import measured

    told = [] if card.measured == "not measured" else [m.model_dump() for m in card.measured]
    assert told == measured(card.name), "run scripts/update_cards.py"


@each
def test_a_call_syntax_that_is_named_reads_the_call_that_is_shown(card):
    if card.call_syntax is None:
        return
    parsed = syntaxes.get(card.call_syntax).parse(card.call_looks)
    assert [(call.name, call.arguments) for call in parsed.calls] == [
        ("get_weather", {"city": "Oslo"})
    ]


TEMPLATES = {
    "Qwen3-0.6B": "Qwen-Qwen3-0.6B",
    "Qwen2.5-0.5B-Instruct": "Qwen-Qwen2.5-7B-Instruct",
    "Granite-4.0-Micro": "ibm-granite-granite-4.0",
    "Llama-3.2-3B-Instruct": "meta-llama-Llama-3.2-3B-Instruct",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_named_call_syntax_is_the_one_the_models_template_teaches(shared, name):
    text = (shared / "fixtures" / "templates" / f"{TEMPLATES[name]}.jinja").read_text()
    card = catalogue.get(name)
    assert card.call_syntax == syntaxes.detect(text).NAME
    assert (card.thinking is not None) == ("enable_thinking" in text)
    assert card.stop_tokens[0] in text


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ("Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("someone/their-model", "someone/their-model"),
        (".", "."),
    ],
)
def test_a_name_becomes_its_hub_id_and_ids_and_folders_stay(typed, where):
    assert catalogue.locate(typed) == where


def test_nano_is_found_in_its_folder():
    assert (Path(catalogue.locate("nano")) / "config.json").is_file()


@pytest.mark.parametrize("near", ["Qwen2.5-0.5B", "qwen-2.5-0.5b-instruct", "Qwen2.5-0.5B-Instrct"])
def test_an_unknown_name_gets_the_nearest_ones(near):
    with pytest.raises(UsageError, match=r"did you mean .*Qwen2\.5-0\.5B-Instruct") as caught:
        catalogue.locate(near)
    assert f"'{near}'" in str(caught.value)


def test_a_name_like_no_other_is_told_where_the_list_is():
    with pytest.raises(UsageError, match="edgetool models") as caught:
        catalogue.locate("zzzzzzzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("card", [c for c in CARDS if c.shape is None], ids=lambda c: c.name)
def test_models_for_comparison_are_refused_for_training_with_their_licence(card):
    for typed in (card.name, card.hub.lower()):
        with pytest.raises(UsageError, match=r"CC-BY-NC-4\.0"):
            catalogue.require_trainable(typed)


def test_folders_and_trainable_models_are_not_refused():
    for typed in ("nano", "Qwen/Qwen3-0.6B", "someone/their-model", "/some/folder"):
        catalogue.require_trainable(typed)


def test_a_wheel_brings_every_card_and_nano(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    root = catalogue.folder().parent
    [built] = wheel.WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(built).namelist())
    cards = {f"edgetool/models/{path.name}" for path in catalogue.folder().glob("*.yaml")}
    assert cards | {"edgetool/models/nano/config.json"} <= names


def a_card(**changes: Any) -> dict[str, Any]:
    values = yaml.safe_load((catalogue.folder() / "nano.yaml").read_text())
    return {**values, **changes}


@pytest.mark.parametrize("key", ["licence", "shape", "stop_tokens", "measured", "recommended"])
def test_a_missing_key_is_named_with_its_file(tmp_path, key):
    values = a_card()
    del values[key]
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError) as caught:
        read_card(path)
    assert str(caught.value) == f"{path}: the key '{key}' is missing"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"licnce": "MIT"}, "'licnce'"),
        ({"recommended": {8: {"num_generations": 8}}}, "recommended.8"),
        ({"measured": "perhaps"}, "'measured"),
        ({"shape": None}, "expected 'shape' or a reason in 'refused'"),
        ({"refused": "its licence"}, "and not both"),
        ({"parameters": "many"}, "'parameters'"),
    ],
)
def test_a_wrong_card_is_named_with_file_and_key(tmp_path, changes, complaint):
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(a_card(**changes)))
    with pytest.raises(ModelError) as caught:
        read_card(path)
    assert str(path) in str(caught.value) and complaint in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- a\n", "", "just text", "\x00"])
def test_what_is_no_card_at_all_is_named_with_its_file(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"broken\.yaml"):
        read_card(path)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "no sizes are known for none"),
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"architectures": ["Qwen2ForCausalLM"]}, "no key 'hidden_size'"),
    ],
)
def test_a_configuration_without_sizes_is_refused_by_name(config, complaint):
    with pytest.raises(ModelError, match=complaint) as caught:
        Shape.of(config, "their/model")
    assert str(caught.value).startswith("their/model: ")


@pytest.fixture
def beside_nano(tmp_path, monkeypatch):
    """A working folder with a folder ./nano in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    return tmp_path / "nano"


def test_a_folder_of_its_name_without_a_model_is_not_nano(beside_nano):
    (beside_nano / "model.Q8_0.gguf").write_bytes(b"GGUF")
    assert Path(catalogue.locate("nano")) == catalogue.folder() / "nano"


def test_a_model_folder_named_nano_is_in_the_way_and_that_is_said(beside_nano):
    (beside_nano / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"write \./nano for that one"):
        catalogue.locate("nano")
    assert catalogue.locate("./nano") == "./nano"


def test_a_model_folder_named_like_a_card_is_meant_before_the_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen3-0.6B").mkdir()
    assert catalogue.locate("Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    (tmp_path / "Qwen3-0.6B" / "config.json").write_text("{}")
    assert catalogue.locate("Qwen3-0.6B") == "Qwen3-0.6B"
    assert catalogue.card_of("Qwen3-0.6B") is None
