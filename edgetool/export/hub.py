"""An export on the Hugging Face hub: private unless asked, only what the receipt vouches for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgetool.errors import EdgetoolError, ModelError, UsageError
from edgetool.export import adapter_gguf, card, receipt
from edgetool.export.ollama import modelfile
from edgetool.export.receipt import read_receipt
from edgetool.files import sha256_of

COMPANIONS = (card.FILE, modelfile.FILE)
RECEIPTS = (receipt.FILE, adapter_gguf.RECEIPT)
PATHS = ("path", "source")  # keys whose text may be a folder of this machine


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Uploads the files of `folder`'s receipts and what stands beside them.

    Returns their address and who may see it.

    repo     owner/name, made when it does not exist
    public   False: the repository is private, and a public one is refused

    Raises UsageError without a token or a file to push, ModelError when a file is not the one of
    the receipt, EdgetoolError when the hub refuses.
    """
    contents = {name: read_receipt(folder / name) for name in RECEIPTS if (folder / name).is_file()}
    listed = [file for content in contents.values() for file in content["files"]]
    if all(file.get("rejected") for file in listed):
        raise UsageError(f"{folder}: every file was rejected; there is nothing to push")
    files = [file for content in contents.values() for file in _vouched_for(folder, content)]
    files += [folder / name for name in COMPANIONS if (folder / name).is_file()]
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    token = get_token()
    if token is None:
        raise UsageError(
            "no Hugging Face token; type `hf auth login`, or set HF_TOKEN, and push again"
        )
    operations = [CommitOperationAdd(file.name, str(file)) for file in files]
    for name, content in contents.items():
        text = receipt.as_text(_without_paths(content))
        operations.append(CommitOperationAdd(name, text.encode()))
    return _upload(HfApi(token=token), repo, operations, public)


def _vouched_for(folder: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """The receipt's files, still the same ones, and the importance matrix they were made with."""
    listed = [file for file in content["files"] if not file.get("rejected")]
    exports = [content, *(file.get("export", {}) for file in listed)]
    matrices = [export["imatrix"] for export in exports if export.get("imatrix")]
    for entry in [*listed, *matrices[:1]]:
        name = str(entry["path"])
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ModelError(f"{folder}: no {name}, which the receipt lists; export again")
        if sha256_of(file) != entry["sha256"]:
            raise ModelError(f"{file}: is not the file of the receipt any more; export again")
        yield file


def _without_paths(content: Any) -> Any:
    """The receipt with names in the place of this machine's folders."""
    if isinstance(content, list):
        return [_without_paths(entry) for entry in content]
    if not isinstance(content, dict):
        return content
    return {
        key: Path(value).name if key in PATHS and isinstance(value, str) else _without_paths(value)
        for key, value in content.items()
    }


def _upload(api: Any, repo: str, operations: list[Any], public: bool) -> str:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        private = api.model_info(repo).private
        if not public and not private:
            raise UsageError(f"{repo} is a public repository; push there with --public")
        api.create_commit(repo, operations, commit_message="Add an export of edgetool")
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, ValueError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EdgetoolError(f"{repo}: the Hugging Face hub refused: {reason}") from error
    return f"{address} ({'private' if private else 'public'})"
