"""An export on the Hugging Face hub: private unless asked, only what the receipt vouches for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgetool.errors import EdgetoolError, ModelError, UsageError
from edgetool.export import card, modelfile, receipt
from edgetool.export.receipt import read_receipt, sha256_of

COMPANIONS = (card.FILE, modelfile.FILE)


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Uploads the files of `folder`'s receipt and what stands beside them.

    Returns their address and who may see it.

    repo     owner/name, made when it does not exist
    public   False: the repository is private, and a public one is refused

    Raises UsageError without a token or a file to push, ModelError when a file is not the one of
    the receipt, EdgetoolError when the hub refuses.
    """
    content = read_receipt(folder / receipt.FILE)
    files = list(_vouched_for(folder, content))
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    token = get_token()
    if token is None:
        raise UsageError(
            "no Hugging Face token; type `hf auth login`, or set HF_TOKEN, and push again"
        )
    operations = [CommitOperationAdd(file.name, str(file)) for file in files]
    text = json.dumps(_without_paths(content), indent=2) + "\n"
    operations.append(CommitOperationAdd(receipt.FILE, text.encode()))
    return _upload(HfApi(token=token), repo, operations, public)


def _vouched_for(folder: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """The receipt's files, still the same ones, and their companions."""
    listed = [file for file in content["files"] if not file.get("rejected")]
    if not listed:
        raise UsageError(f"{folder}: every file was rejected; there is nothing to push")
    listed += [content["imatrix"]] if "imatrix" in content else []
    for entry in listed:
        name = str(entry["path"])
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ModelError(f"{folder}: no {name}, which the receipt lists; export again")
        if sha256_of(file) != entry["sha256"]:
            raise ModelError(f"{file}: is not the file of the receipt any more; export again")
        yield file
    yield from (folder / name for name in COMPANIONS if (folder / name).is_file())


def _without_paths(content: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt with names in the place of this machine's folders."""
    found: dict[str, Any] = json.loads(json.dumps(content))
    places = [found.get("source", {}).get(key, {}) for key in ("base", "adapter")]
    for place in places:
        if "path" in place:
            place["path"] = Path(place["path"]).name
    if source := found.get("held_out", {}).get("source"):
        found["held_out"]["source"] = Path(source).name
    return found


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
