"""The command that installs an optional part names where this edgetool came from."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from edgetool import extras

ROOT = extras._PACKAGE.parent


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("torch.nn", "train"), ("llama_cpp", "device"), ("no_such", None)],
)
def test_a_module_leads_to_the_extra_that_brings_it(module, extra):
    assert extras.extra_of(module) == extra


def test_in_a_checkout_the_command_names_the_checkout():
    assert extras.install_command("train") == f"pip install '{ROOT}[train]'"


class Distribution:
    def __init__(self, direct_url: dict[str, object] | None) -> None:
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.direct_url is None else json.dumps(self.direct_url)


@pytest.mark.parametrize(
    ("direct_url", "requirement"),
    [
        ({"url": "file:///home/a%20b/edgetool", "dir_info": {}}, "/home/a b/edgetool[data]"),
        (
            {"url": "https://example.com/e.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "edgetool[data] @ git+https://example.com/e.git",
        ),
        (None, "EDGETOOL_CHECKOUT[data]"),
    ],
)
def test_an_installed_one_names_what_pip_was_given(monkeypatch, tmp_path, direct_url, requirement):
    monkeypatch.setattr(extras, "_PACKAGE", tmp_path / "site-packages" / "edgetool")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(direct_url))
    assert extras.install_command("data") == f"pip install '{requirement}'"


def test_pins_that_clash_get_an_environment_of_their_own():
    assert extras.own_environment("unsloth") == (
        f"python -m venv .venv-unsloth && .venv-unsloth/bin/pip install '{ROOT}[unsloth]'"
    )
