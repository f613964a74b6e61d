"""Of all chat templates in a folder one goes into training, merged folder and GGUF file."""

from __future__ import annotations

import json
from pathlib import Path

from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.template_choice import choose
from edgetool.export.export import export_gguf
from edgetool.export.inspect import inspect_gguf
from edgetool.export.merge import merge
from edgetool.export.model_folder import ModelFolder
from edgetool.train.load import hf_prompter, load_tokenizer
from tests.calls.chat_templates import WITHOUT_TOOLS
from tests.conftest import TINY_TEMPLATE, music_tool, user, weather_tool
from tests.export.conftest import edit_json

DEAF = WITHOUT_TOOLS["smollm2"][1]
KIT = choose(DEAF, where="model").text
TOOLS = (weather_tool(), music_tool())
TAGGED = TINY_TEMPLATE.replace(
    "{{ message.content or '' }}",
    "{% generation %}{{ message.content or '' }}{% endgeneration %}",
)


def _prompter(path: Path) -> Prompter:
    return hf_prompter(load_tokenizer(str(path)), str(path))


def test_a_folder_of_templates_gives_one_to_training_merge_and_export(
    model_copy: Path, adapter: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    path = model_copy
    edit_json(path / "tokenizer_config.json", chat_template="{{ messages[0].content }}")
    (path / "chat_template.jinja").write_text(DEAF, encoding="utf-8")
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "tool_use.jinja").write_text(TAGGED, encoding="utf-8")
    (file,) = export_gguf(path, None, tmp_path / "out", ["F16"])
    merged = merge(path, adapter, tmp_path / "merged")
    assert inspect_gguf(file.path).template == TAGGED
    assert _prompter(path).template == _prompter(merged).template == TAGGED
    theirs = AutoTokenizer.from_pretrained(merged).apply_chat_template(
        list(user("hi")), tools=[tool.as_openai() for tool in TOOLS], add_generation_prompt=True
    )
    assert list(theirs["input_ids"]) == _prompter(merged).ids(user("hi"), TOOLS)
    assert not (merged / "additional_chat_templates").exists()


def test_a_merged_folder_has_the_template_that_took_its_place(
    model_copy: Path, adapter: Path, tmp_path: Path
) -> None:
    edit_json(model_copy / "tokenizer_config.json", chat_template=DEAF)
    merged = merge(model_copy, adapter, tmp_path / "merged")
    assert (merged / "chat_template.jinja").read_text(encoding="utf-8") == KIT
    assert "chat_template" not in json.loads((merged / "tokenizer_config.json").read_text())
    assert not ModelFolder.open(merged).chat_template.replaced
