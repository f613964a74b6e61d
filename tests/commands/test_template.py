"""A model whose chat template shows no tools: one template from training to the shipped file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.template_choice import choose
from edgetool.calls.types import Example
from edgetool.commands.bench import run_bench_device
from edgetool.commands.dry_run import run_dry
from edgetool.commands.eval import Rows, run_eval
from edgetool.commands.export import ExportOptions, run_export
from edgetool.commands.init import run_init
from edgetool.commands.inspect import run_inspect
from edgetool.commands.plan import run_plan
from edgetool.commands.reward import try_rewards
from edgetool.commands.run import Asking, run_ask
from edgetool.commands.sft import run_sft
from edgetool.commands.train import run_training
from edgetool.config import build_config, load_config
from edgetool.data.rows import write_rows
from edgetool.errors import ModelError, UsageError
from edgetool.export import export as export_run
from edgetool.export.export import export_gguf
from edgetool.export.inspect import inspect_gguf
from edgetool.export.merge import merge
from edgetool.export.model_folder import ModelFolder
from edgetool.fidelity.survey import Subject
from edgetool.llama.client import WorkerClient
from edgetool.llama.pool import PoolRuntime
from edgetool.llama.session import LlamaSession
from edgetool.run_folder import open_policy
from edgetool.runtime import Sampling
from edgetool.train.load import hf_prompter, load_tokenizer
from tests.calls.chat_templates import WITHOUT_TOOLS
from tests.commands.conftest import Said
from tests.conftest import TINY_TEMPLATE, music_tool, user, weather_tool
from tests.export.conftest import edit_json

DEAF = WITHOUT_TOOLS["smollm2"][1]
KIT = choose(DEAF, where="model").text
TOOLS = (weather_tool(), music_tool())
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
CONVERSATION = [
    *user("weather in Oslo please"),
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "5 degrees"},
    *user("and <|im_end|> now?"),
]
TAGGED = TINY_TEMPLATE.replace(
    "{{ message.content or '' }}",
    "{% generation %}{{ message.content or '' }}{% endgeneration %}",
)

Folder = Callable[..., Path]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Folder:
    """Makes a copy of the tiny model with another chat template."""

    def make(template: Any = DEAF, name: str = "base") -> Path:
        path = Path(shutil.copytree(tiny_model, tmp_path / name))
        edit_json(path / "tokenizer_config.json", chat_template=template)
        return path

    return make


@pytest.fixture
def strangers_gguf(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Makes a GGUF file that has a chat template which edgetool would not write."""
    make_plan = export_run.make_plan

    def make(template: str) -> Path:
        def plan(*args: Any, **kwargs: Any) -> Any:
            return replace(make_plan(*args, **kwargs), chat_template=template)

        monkeypatch.setattr(export_run, "make_plan", plan)
        return export_gguf(tiny_model, None, tmp_path / "theirs", ["F16"])[0].path

    return make


def trained_prompter(path: Path, template: str | None = None) -> Prompter:
    return hf_prompter(load_tokenizer(str(path)), str(path), None, template)


@pytest.mark.parametrize(
    ("own", "wanted", "used"),
    [
        (DEAF, None, KIT),
        (TINY_TEMPLATE, None, TINY_TEMPLATE),
        (TAGGED, None, TAGGED),
        (None, "chatml", choose(None, "chatml", where="m").text),
        ([{"name": "default", "template": DEAF}, {"name": "tool_use", "template": TAGGED}],
         None, TAGGED),
    ],
    ids=["replaced", "own", "generation tag", "named", "one of several"],
)  # fmt: skip
def test_training_and_the_file_make_the_same_prompt_ids(
    folder: Folder, tmp_path: Path, own: Any, wanted: str | None, used: str
) -> None:
    path = folder(own)
    (file,) = export_gguf(path, None, tmp_path / "out", ["F16"], template=wanted)
    assert inspect_gguf(file.path).template == used
    prompter = trained_prompter(path, wanted)
    with LlamaSession(file.path, context=256) as session:
        assert session.prompter.choice is not None and not session.prompter.choice.replaced
        for tools in ((), TOOLS):
            ids = session.prompter.ids(CONVERSATION, tools)
            assert ids == prompter.ids(CONVERSATION, tools)
    assert len(prompter.ids(CONVERSATION, TOOLS)) > len(prompter.ids(CONVERSATION, ())) + 50


@pytest.mark.parametrize("where", ["chat_template.json", "tokenizer_config.json"])
def test_templates_are_found_in_both_places_by_training_and_export(
    folder: Folder, where: str
) -> None:
    path = folder(None)
    found = json.loads((path / where).read_text()) if (path / where).is_file() else {}
    (path / where).write_text(json.dumps({**found, "chat_template": TAGGED}))
    assert trained_prompter(path).template == ModelFolder.open(path).chat_template.text == TAGGED


def test_a_strangers_file_gets_the_template_when_it_is_opened(
    strangers_gguf: Callable[[str], Path],
) -> None:
    path = strangers_gguf(DEAF)
    with LlamaSession(path, context=512) as session:
        assert session.prompter.template == KIT
        assert session.syntax.NAME == "hermes"
        with_tools, without = (len(session.prompter.ids(user("hi"), t)) for t in (TOOLS, ()))
        assert with_tools > without + 50
    with pytest.raises(ModelError, match="leave --template own out"):
        LlamaSession(path, template="own")


def test_server_and_evaluation_say_that_it_was_replaced(
    strangers_gguf: Callable[[str], Path],
) -> None:
    path = strangers_gguf(DEAF)
    with WorkerClient(path, context=256) as writer:
        assert (writer.chat_template.name, writer.chat_template.replaced) == ("chatml", True)
        assert "shows the model no tools" in str(writer.chat_template.note)
    with PoolRuntime(path, context=256, workers=1) as runtime:
        replaced, first = runtime.chat_template, runtime.fingerprint
    with PoolRuntime(path, context=256, workers=1, template="zephyr") as runtime:
        assert replaced.name == "chatml" and runtime.chat_template.name == "zephyr"
        assert runtime.fingerprint != first  # other prompts, other completions


def test_run_shows_the_tools_and_says_so_once(
    strangers_gguf: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([tool.as_openai() for tool in TOOLS]))
    asking = Asking("weather in Oslo please", tools=file, max_completion_length=4)
    run_ask(strangers_gguf(DEAF), asking)
    assert capsys.readouterr().err.count("shows the model no tools") == 1


def test_a_chat_without_tools_takes_any_template(
    strangers_gguf: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = strangers_gguf("{% for m in messages %}{{ m.content }}{% endfor %}")
    run_ask(path, Asking("hello", max_completion_length=2))
    assert "template" not in capsys.readouterr().err
    with pytest.raises(ModelError, match="no family that edgetool knows"):
        LlamaSession(path)


def test_what_transformers_knows_is_no_reason_to_refuse_a_file(
    strangers_gguf: Callable[[str], Path],
) -> None:
    with LlamaSession(strangers_gguf(TAGGED), context=256) as session:
        assert session.prompter.ids(user("hi"), TOOLS)


def test_what_is_broken_for_transformers_is_refused(strangers_gguf: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match="chat template is broken"):
        LlamaSession(strangers_gguf("{% break %}" + TINY_TEMPLATE))


def test_a_file_without_template_is_refused_until_one_is_named(shared: Path) -> None:
    path = shared / "fixtures" / "stories260k" / "tinyllm.gguf"
    with pytest.raises(ModelError, match=r"no chat template.*--template: chatml"):
        LlamaSession(path)
    with LlamaSession(path, template="zephyr") as session:
        assert session.prompter.choice is not None and session.prompter.choice.name == "zephyr"


def test_init_plan_and_dry_run_say_it_before_any_work(
    folder: Folder, tmp_path: Path, console: Said
) -> None:
    path, out = str(folder()), tmp_path / "my.yaml"
    for work in (
        lambda: run_init(out, console, model=path),
        lambda: run_plan(path, 8, console),
        lambda: run_dry(build_config({"model": path, "output_dir": "x"}, "test"), console),
    ):
        before = console.text.count("shows the model no tools")
        work()
        assert console.text.count("shows the model no tools") == before + 1


def test_own_is_refused_before_any_work(folder: Folder, tmp_path: Path, console: Said) -> None:
    path = str(folder())
    config = build_config({"model": path, "output_dir": str(tmp_path / "r"), "template": "own"}, "")
    for work in (
        lambda: run_init(tmp_path / "my.yaml", console, model=path, template="own"),
        lambda: run_plan(path, 8, console, template="own"),
        lambda: run_dry(config, console),
        lambda: run_sft(config, console),
        lambda: run_export(path, ExportOptions(out=tmp_path / "o", template="own"), console),
    ):
        with pytest.raises(ModelError, match="leave --template own out"):
            work()
    assert not (tmp_path / "my.yaml").exists() and not (tmp_path / "o").exists()


@pytest.fixture
def trained(
    folder: Folder, tmp_path: Path, examples: list[Example], console: Said
) -> tuple[Path, dict[str, Any]]:
    """A finished run on a model whose template shows no tools, and its configuration."""
    write_rows(tmp_path / "rows.jsonl", examples)
    values = {
        "model": str(folder()),
        "output_dir": str(tmp_path / "run"),
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "lora": {"r": 2, "lora_alpha": 4},
        "sft": {"max_steps": 1, "gradient_checkpointing": False, "bf16": False},
        "grpo": {
            "num_generations": 2, "prompts_per_step": 2, "max_completion_length": 4,
            "max_steps": 1, "gradient_checkpointing": False, "bf16": False,
        },
    }  # fmt: skip
    run_sft(build_config(values, "test"), console, resume=True)  # of a run that has not begun
    return tmp_path / "run", values


def test_a_run_keeps_the_template_it_was_trained_with(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, console: Said
) -> None:
    assert console.text.count("shows the model no tools") == 1
    run, values = trained
    subject = Subject.at(str(run))
    model = Path(values["model"])
    edit_json(model / "tokenizer_config.json", chat_template=TINY_TEMPLATE)  # a new release of it
    assert subject.plan().chat_template == KIT
    assert subject.run is not None
    assert open_policy(subject.run, trained=True).prompter.template == KIT
    merged = merge(model, subject.run.adapter, tmp_path / "merged", template=subject.template)
    assert trained_prompter(merged).template == KIT
    with pytest.raises(UsageError, match="keeps the template it was trained with"):
        Subject.at(str(run), "chatml")


def test_an_adapter_of_another_template_is_named(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, console: Said
) -> None:
    run, values = trained
    again = {**values, "output_dir": str(tmp_path / "same")}
    run_training(build_config(again, "test"), console, init_adapter=run)
    assert "another chat template" not in console.text
    other = {**values, "output_dir": str(tmp_path / "other"), "template": "zephyr"}
    run_training(build_config(other, "test"), console, init_adapter=run)
    assert f"to go on with it: --template {run / 'chat_template.jinja'}" in console.text


def test_receipt_and_card_name_the_template(folder: Folder, tmp_path: Path, console: Said) -> None:
    out = tmp_path / "out"
    run_export(str(folder()), ExportOptions(quants=["F16"], out=out), console)
    assert json.loads((out / "receipt.json").read_text())["chat_template"] == "chatml"
    assert "edgetool's own for ChatML turns" in (out / "README.md").read_text()
    assert console.text.count("shows the model no tools") == 1


def test_inspect_says_what_is_used_instead(
    strangers_gguf: Callable[[str], Path], console: Said
) -> None:
    path = strangers_gguf(DEAF)
    assert inspect_gguf(path).tools.replacement == "chatml"
    run_inspect(path, console, as_json=False, tensors=False)
    assert "run, serve and eval use edgetool's own chatml template" in console.text


def test_an_evaluation_says_it_once_and_its_report_has_it(
    strangers_gguf: Callable[[str], Path], tmp_path: Path, examples: list[Example], console: Said
) -> None:
    sampling = Sampling(max_completion_length=2)
    report = run_eval(
        str(strangers_gguf(DEAF)), Rows({"": tuple(examples)}), ["free", "constrained"], console,
        base=False, sampling=sampling, out=tmp_path / "report",
    )  # fmt: skip
    assert console.text.count("shows the model no tools") == 1
    assert json.loads(report.read_text())["config"]["chat_template"] == "chatml"


def test_reward_try_reads_a_completion_as_the_configurations_model_writes_it(
    folder: Folder, tmp_path: Path, console: Said
) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(json.dumps({"model": str(folder()), "output_dir": "x"}))
    try_rewards("demo", "[]", console, names=["exact"], config=config)
    assert "read as  hermes" in console.text
    assert "shows the model no tools" in console.text


def test_init_writes_the_template_that_was_asked_for(folder: Folder, tmp_path: Path) -> None:
    out = tmp_path / "my.yaml"
    run_init(out, Said(), model=str(folder("{{ messages[0].content }}")), template="llama3")
    assert load_config(out).template == "llama3"


def test_a_model_that_is_not_here_is_said_to_be_looked_at_later(
    tmp_path: Path, console: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    run_init(tmp_path / "one.yaml", console, model="Qwen2.5-0.5B-Instruct")
    assert "template" not in console.text  # its card says what its template teaches
    run_init(tmp_path / "two.yaml", console, model="SmolLM2-135M-Instruct")
    assert "edgetool doctor --model SmolLM2-135M-Instruct" in console.text
    with pytest.raises(UsageError, match="no such file, and not one of own, chatml"):
        run_init(tmp_path / "x.yaml", console, model="Qwen2.5-0.5B-Instruct", template="chatlm")
    assert not (tmp_path / "x.yaml").exists()


def test_bench_says_it_and_takes_another(
    strangers_gguf: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = strangers_gguf(DEAF)
    for template, said in ((None, "shows the model no tools"), ("zephyr", "own Zephyr template")):
        run_bench_device(path, Said(), rows=1, max_completion_length=2, template=template)
        assert capsys.readouterr().err.count(said) == 1
