"""`edgetool doctor`: each failure ends with the command that mends it."""

from __future__ import annotations

import io
import json
import os
from collections import namedtuple
from typing import Any

import pytest
from rich.console import Console

from edgetool.commands import doctor
from edgetool.commands.doctor import FAIL, OK, WARN, Check
from tests.calls.chat_templates import WITHOUT_TOOLS


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def shown(checks: list[Check], monkeypatch, model: str | None = None) -> tuple[bool, str]:
    monkeypatch.setattr(doctor, "CHECKS", tuple(lambda c=c: c for c in checks))
    monkeypatch.setattr(
        doctor, "chat_template", lambda model, _: Check(f"template {model}", OK, "fine")
    )
    out = io.StringIO()
    fine = doctor.run_doctor(model, Console(file=out, width=200))
    return fine, out.getvalue()


def test_one_line_a_check_and_a_failure_ends_with_its_command(monkeypatch):
    checks = [Check("a", OK, "good"), Check("b", FAIL, "bad", "pip install b")]
    fine, text = shown(checks, monkeypatch)
    lines = text.splitlines()
    assert not fine and len(lines) == 3
    assert lines[1].endswith("bad; mend it with: pip install b")


def test_a_warning_alone_is_no_failure(monkeypatch):
    fine, _ = shown([Check("a", WARN, "hm", "do this")], monkeypatch)
    assert fine


def test_json_has_every_line(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (doctor.python,))
    doctor.run_doctor(None, Console(file=io.StringIO()), as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["Python", "chat template of nano"]
    assert set(rows[0]) == {"name", "state", "found", "mend"}


def test_nothing_fails_where_the_tests_run():
    states = {check.name: check for check in (one() for one in doctor.CHECKS)}
    assert [c for c in states.values() if c.state == FAIL] == []
    assert states["bitsandbytes"].found.endswith("is right")


def test_nanos_template_shows_its_tools():
    found = doctor.chat_template("nano")
    assert (found.state, found.mend) == (OK, None)
    assert "hermes" in found.found


def test_a_model_that_is_not_there_fails_with_a_command():
    found = doctor.chat_template("/no/such/folder")
    assert found.state == FAIL and found.mend == "edgetool models /no/such/folder"


@pytest.fixture
def model_with(tiny_model, tmp_path):
    """Makes a model folder with another chat template."""
    import shutil

    def make(template):
        folder = tmp_path / "other"
        shutil.copytree(tiny_model, folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return str(folder)

    return make


def test_a_template_of_unknown_turns_fails_and_the_command_mends_it(model_with, tmp_path):
    import shlex

    from edgetool.commands.init import run_init
    from edgetool.config import load_config

    folder = model_with("{% for m in messages %}{{ m.content }}{% endfor %}")
    found = doctor.chat_template(folder)
    assert found.state == FAIL and "shows the model no tools" in found.found
    typed = shlex.split(found.mend, comments=True)
    assert typed == ["edgetool", "init", "--model", folder, "--template", "chatml"]
    out = tmp_path / "my.yaml"
    run_init(out, Console(file=io.StringIO()), model=typed[3], template=typed[5])
    assert load_config(out).template == "chatml"
    assert doctor.chat_template(folder, "chatml").state == OK


def test_a_template_that_edgetool_replaces_is_said(model_with):
    found = doctor.chat_template(model_with(WITHOUT_TOOLS["smollm2"][1]))
    assert found.state == OK and found.mend is None
    assert "ChatML template with the hermes" in found.found and "read as hermes" in found.found


Version = namedtuple("Version", "major minor micro")


@pytest.mark.parametrize(("version", "state"), [((3, 9, 1), FAIL), ((3, 14, 0), FAIL)])
def test_a_python_outside_the_range_fails(monkeypatch, version, state):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert doctor.python().state == state and doctor.python().mend


def test_a_wrong_4_bit_product_fails(monkeypatch):
    monkeypatch.setattr(doctor, "_four_bit_error", lambda: (0.9, "cpu"))
    found = doctor.four_bit()
    assert found.state == FAIL and "off by 90%" in found.found and "bitsandbytes" in found.mend


def test_a_4_bit_product_that_is_nan_fails(monkeypatch):
    monkeypatch.setattr(doctor, "_four_bit_error", lambda: (float("nan"), "cpu"))
    assert doctor.four_bit().state == FAIL


def test_kernels_that_do_not_load_fail_with_the_reason(monkeypatch):
    def broken() -> Any:
        raise RuntimeError("no kernel image\nfor this device")

    monkeypatch.setattr(doctor, "_four_bit_error", broken)
    found = doctor.four_bit()
    assert found.state == FAIL and found.found == "a 4-bit product failed: no kernel image"


def test_the_4_bit_product_really_goes_through_4_bits():
    error, _ = doctor._four_bit_error()
    assert 0.01 < error < 0.2  # NF4 of a normal matrix: about a tenth, never nothing


@pytest.mark.parametrize(
    ("installed", "state"), [("2.13.0+cpu", OK), ("2.10.0", OK), ("2.9.1", FAIL), ("2.6.0", FAIL)]
)
def test_versions_below_a_known_fix_fail(monkeypatch, installed, state):
    versions = {"torch": installed}
    monkeypatch.setattr(doctor, "version", versions.get)
    found = doctor.security()
    assert found.state == state
    if state == FAIL:
        assert "CVE-2026-24747" in found.found
        assert found.mend == "pip install --upgrade 'torch>=2.10.0'"


def test_a_cpu_build_beside_a_driver_fails(monkeypatch):
    import torch

    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    found = doctor.torch_build()
    assert found.state == FAIL and "CPU build" in found.found and "torch" in found.mend
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "wants CUDA 13.0" in doctor.torch_build().found


def test_what_an_extra_brings_may_be_absent(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda _: None)
    for check in (doctor.four_bit, doctor.llama_cpp, doctor.grammar, doctor.torch_build):
        found = check()
        assert found.state == WARN and found.mend.startswith("pip install ")
    assert doctor.unsloth().state == OK


def test_pins_that_do_not_hold_are_named(monkeypatch):
    versions = {"unsloth": "2026.11.1", "torch": "2.13.0"}
    monkeypatch.setattr(doctor, "version", versions.get)
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "requires",
        lambda name: ["torch<2.12", "numpy", "triton>=3 ; extra == 'huggingface'", "not a pin !"],
    )
    found = doctor.unsloth()
    assert found.state == FAIL and "torch 2.13.0 is not <2.12" in found.found
    assert ".venv-unsloth" in found.mend


def test_little_disk_is_a_warning(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1 * 2**30))
    assert doctor.disk().state == WARN


def test_a_hub_out_of_reach_is_a_warning_with_the_way_offline(monkeypatch):
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(doctor.socket, "create_connection", refuse)
    found = doctor.hub()
    assert found.state == WARN and "HF_HUB_OFFLINE" in found.mend
    assert "HF_HUB_OFFLINE" not in os.environ
