"""A GGUF file whose chat template is made to hurt: a clear error, and everything goes on."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest

from edgetool.chat.ask import ask
from edgetool.errors import ModelError
from edgetool.llama.client import WorkerClient
from edgetool.llama.session import LlamaSession

# Harmless until somebody says more than once that it is an attack.
TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if messages | length > 1 %}{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}{% endif %}<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def hostile(tiny_model, tmp_path_factory):
    from edgetool.export.export import export_gguf

    folder = tmp_path_factory.mktemp("hostile") / "model"
    shutil.copytree(tiny_model, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "chat_template": TEMPLATE})
    )
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return export_gguf(folder, None, folder.parent, ["F16"])[0].path


@pytest.mark.slow
def test_a_session_says_what_is_wrong_and_goes_on(hostile):
    with LlamaSession(hostile, context=256) as session:
        turn = {"role": "user", "content": "hi"}
        with pytest.raises(ModelError, match="chat template takes more than 2 s"):
            session.prompter.ids([turn, turn], [])
        assert ask(session, "hi", []).completion.token_ids


@pytest.mark.slow
def test_a_server_says_what_is_wrong_and_goes_on(hostile, serving):
    turn = {"role": "user", "content": "hi"}
    with WorkerClient(hostile, context=256) as writer:
        url = f"{serving(writer)}/v1/chat/completions"
        bad = httpx.post(url, json={"messages": [turn, turn], "max_tokens": 2}, timeout=120)
        assert "chat template" in bad.json()["error"]["message"]
        good = httpx.post(url, json={"messages": [turn], "max_tokens": 2}, timeout=120)
        assert (bad.status_code >= 400, good.status_code) == (True, 200)
