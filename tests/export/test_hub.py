"""`edgetool push` against a server that stands for the hub, in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgetool.errors import ModelError, UsageError
from edgetool.export import hub
from edgetool.export.adapter_gguf import export_adapter
from edgetool.export.export import Judgement, export_gguf
from edgetool.export.receipt import Source, write_receipt
from edgetool.files import sha256_of


class Hub(ThreadingHTTPServer):
    """The few addresses of the hub's API that a push needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.public_already = False

    @property
    def asked_private(self) -> bool:
        """huggingface_hub asks with `visibility`, in older versions with `private`."""
        return self.created.get("visibility") == "private" or self.created.get("private") is True


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        private = self.server.asked_private and not self.server.public_already
        self._answer({"id": "me/music", "private": private, "siblings": [], "tags": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization", ""))
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"http://{self.headers['Host']}/me/music"})
        elif self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            self._answer({"files": [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]})  # fmt: skip
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            address = f"http://{self.headers['Host']}/me/music/commit/0"
            self._answer({"success": True, "commitOid": "0" * 40, "commitUrl": address})
        else:
            self._answer({"errors": [], "warnings": []})  # the card's metadata is looked at

    def _answer(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def exported(tiny_model: Path, adapter: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "my"
    notes = {"held_out": {"source": "/home/me/secret/rows.jsonl", "rows": 3}}
    export_gguf(tiny_model, adapter, folder, ["Q8_0"], notes=notes)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "config.yaml").write_text("not for the world")
    return folder


def push(folder: Path, server: Hub | None, home: Path, *options: str) -> Any:
    known = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    if server is not None:
        known |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_test"}
    return subprocess.run(
        [sys.executable, "-m", "edgetool", "push", str(folder), "me/music", *options],
        capture_output=True, text=True, check=False, timeout=60, env=environment | known,
    )  # fmt: skip


def test_an_export_goes_to_a_private_repository(
    exported: Path, server: Hub, tmp_path: Path
) -> None:
    done = push(exported, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "me/music (private)" in done.stdout
    assert server.asked_private and server.created["name"] == "music"
    assert server.tokens == {"Bearer hf_test"}
    assert set(server.files) == {"model.Q8_0.gguf", "receipt.json", "README.md"}
    assert server.files["model.Q8_0.gguf"] == (exported / "model.Q8_0.gguf").read_bytes()
    receipt = server.files["receipt.json"].decode()
    assert str(tmp_path) not in receipt and "/home/me" not in receipt  # this machine's folders
    assert json.loads(receipt)["held_out"]["source"] == "rows.jsonl"


def test_files_of_all_exports_go_up(
    exported: Path, tiny_model: Path, adapter: Path, server: Hub, tmp_path: Path
) -> None:
    export_gguf(tiny_model, None, exported, ["F16"])
    file = export_adapter(tiny_model, adapter, exported)
    source = Source(tiny_model, adapter, "base", "float32")
    write_receipt(exported, source, [file], name="adapter.receipt.json")
    done = push(exported, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(server.files) == {
        "model.Q8_0.gguf", "model.F16.gguf", "adapter.gguf", "receipt.json",
        "adapter.receipt.json", "README.md",
    }  # fmt: skip
    receipt = server.files["receipt.json"].decode()
    assert {file["quant"] for file in json.loads(receipt)["files"]} == {"Q8_0", "F16"}
    # the folders of an earlier export are this machine's, too
    assert str(tmp_path) not in receipt and "/home/me" not in receipt


def test_the_importance_matrix_of_an_earlier_export_goes_up(
    exported: Path, tiny_model: Path, server: Hub, tmp_path: Path
) -> None:
    (exported / "imatrix.gguf").write_bytes(b"x")
    digest = sha256_of(exported / "imatrix.gguf")
    notes = {"imatrix": {"path": "imatrix.gguf", "sha256": digest}}
    export_gguf(tiny_model, None, exported, ["Q4_0"], notes=notes)
    export_gguf(tiny_model, None, exported, ["F16"])
    assert push(exported, server, tmp_path).returncode == 0
    assert server.files["imatrix.gguf"] == b"x"


def test_public_must_be_said(exported: Path, server: Hub, tmp_path: Path) -> None:
    done = push(exported, server, tmp_path, "--public")
    assert done.returncode == 0 and not server.asked_private
    assert "(public)" in done.stdout


def test_a_repository_that_is_public_already_is_not_pushed_to_by_accident(
    exported: Path, server: Hub, tmp_path: Path
) -> None:
    server.public_already = True
    done = push(exported, server, tmp_path)
    assert done.returncode == 2 and "push there with --public" in done.stderr
    assert server.files == {}


def test_without_a_token_a_word_says_how_to_get_one(exported: Path, tmp_path: Path) -> None:
    done = push(exported, None, tmp_path)
    assert done.returncode == 2
    assert "no Hugging Face token; type `hf auth login`, or set HF_TOKEN" in done.stderr


def test_a_folder_without_an_export_says_what_to_type(tmp_path: Path) -> None:
    done = push(tmp_path, None, tmp_path)
    assert done.returncode == 2 and f"type `edgetool export {tmp_path}`" in done.stderr


def test_a_file_that_is_not_the_receipts_is_not_pushed(exported: Path) -> None:
    with (exported / "model.Q8_0.gguf").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match="not the file of the receipt any more"):
        hub.push(exported, "me/music")


def test_a_receipt_cannot_name_files_elsewhere(exported: Path) -> None:
    receipt = json.loads((exported / "receipt.json").read_text())
    receipt["files"][0]["path"] = "../my/model.Q8_0.gguf"
    (exported / "receipt.json").write_text(json.dumps(receipt))
    with pytest.raises(ModelError, match="which the receipt lists"):
        hub.push(exported, "me/music")


def test_rejected_files_are_not_pushed(tiny_model: Path, tmp_path: Path) -> None:
    reject = lambda files: Judgement(["Q8_0"])  # noqa: E731
    export_gguf(tiny_model, None, tmp_path, ["Q8_0"], judge=reject)
    with pytest.raises(UsageError, match="every file was rejected"):
        hub.push(tmp_path, "me/music")
