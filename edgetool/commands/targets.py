"""What a path or a name means to a command.

MODEL of `run`, `serve`, `inspect` and `bench device` leads to a GGUF file, see `gguf_of`. What
`eval` measures is a run's policy, a model folder, a GGUF file or an endpoint, see `open_runtimes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetool.catalogue import NANO, locate
from edgetool.errors import UsageError
from edgetool.files import require_writable, sha256_of
from edgetool.fingerprint import fingerprint
from edgetool.gguf_header import is_gguf
from edgetool.runtime import ARMS, CONSTRAINED, FREE, NAMES_ONLY, Runtime

if TYPE_CHECKING:
    from edgetool.calls.prompt.template_choice import ChatTemplate
    from edgetool.llama.pool import PoolRuntime
    from edgetool.run_folder import RunFolder
    from edgetool.train.policy import Policy

# Of several files in a folder the first of these that is there.
PREFERRED = ("Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M", "Q4_0", "IQ4_XS", "F16")
NANO_QUANT = "Q8_0"
POLICY_ARMS = (FREE, CONSTRAINED, NAMES_ONLY)
WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json")
ADAPTER = "adapter.gguf"  # what --adapter-only writes: no model by itself


def gguf_of(target: str) -> Path:
    """The GGUF file of a path to one, a folder with some (a run's), or `nano`.

    Says in one line which file of several it took. Raises UsageError where none can be meant.
    """
    path = Path(target).expanduser()
    if target == NANO:
        return _nano()
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise UsageError(
            f"{target}: no such file; give a GGUF file, a run folder with one, or `{NANO}`"
        )
    return path


def _of_folder(folder: Path) -> Path:
    found = sorted(file for file in folder.glob("*.gguf") if file.name != ADAPTER)
    if not found and (folder / ADAPTER).is_file():
        raise UsageError(
            f"{folder} holds {ADAPTER} alone, which goes beside its base; give the base's file, "
            f"with --adapter {folder / ADAPTER}"
        )
    if not found:
        raise UsageError(f"{folder} holds no GGUF file; type: {_export_command(folder)}")
    chosen = min(found, key=_rank)
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        _note(f"{folder} holds {names}; {chosen.name} is used, name another to use that")
    return chosen


def _rank(file: Path) -> tuple[int, str]:
    quant = file.stem.rsplit(".", 1)[-1].rsplit("-", 1)[-1]
    return (PREFERRED.index(quant) if quant in PREFERRED else len(PREFERRED), file.name)


def _export_command(folder: Path) -> str:
    if (folder / "run.json").is_file():
        return f"edgetool export {folder}"
    return f"edgetool export {folder} --out {folder}"


def _nano() -> Path:
    """The embedded default as a GGUF file, written once into the user's cache."""
    from edgetool.export.export import export_gguf

    base = Path(locate(NANO))
    made_of: Sequence[Path] = sorted(file for file in base.iterdir() if file.is_file())
    folder = _cache() / f"{NANO}-{fingerprint(made_of)[:12]}"
    path = folder / f"{NANO}.{NANO_QUANT}.gguf"
    if not path.is_file():
        require_writable(folder, "XDG_CACHE_HOME=FOLDER")
        _note(f"writing {path}, once")
        export_gguf(base, None, folder, [NANO_QUANT], stem=NANO)
    return path


def _cache() -> Path:
    """Where edgetool keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgetool"


def _note(text: str) -> None:
    typer.echo(f"edgetool: {text}", err=True)


@dataclass(frozen=True)
class Held:
    """A model in a runtime, under the name it has in a report.

    template   what its prompts are made with; None: its server's own
    """

    model: str
    runtime: Runtime
    template: ChatTemplate | None = None


def open_runtimes(
    target: str,
    *,
    base: bool,
    model: str | None,
    template: str | None = None,
    thinking: bool | None = None,
    adapter: Path | None = None,
) -> Iterator[Held]:
    """Each runtime of a target in turn, the base model's first; one is over when the next comes.

    model      the name an endpoint knows its model by
    template   as `template_choice.choose` is asked for one
    thinking   the model thinks before it answers; None: as it was trained to
    adapter    a LoRA adapter's GGUF file, beside a GGUF file
    """
    from edgetool.eval.results import is_url
    from edgetool.run_folder import RunFolder

    path = Path(target)
    require_adapter(adapter, path)
    if template and (is_url(target) or (path / "run.json").is_file()):
        raise UsageError(
            f"--template {template}: goes with a GGUF file or a model folder; a run keeps the "
            "template it was trained with, and an endpoint has its own"
        )
    if is_url(target):
        if thinking:
            raise UsageError(
                f"{target}: --thinking works for local models only; leave it out for an endpoint"
            )
        yield Held(model or "", _endpoint(target, model, base))
    elif is_gguf(path):
        if base:
            raise UsageError("--base needs a run folder: a GGUF file does not hold its base model")
        name = f"{path.stem} + {adapter.stem}" if adapter else path.stem
        with gguf_runtime(path, template, thinking, adapter) as runtime:
            yield Held(name, runtime, runtime.chat_template)
    elif (path / "config.json").is_file():
        if base:
            raise UsageError(f"--base needs a run folder: {path} does not hold its base model")
        yield _merged(path, template, thinking=bool(thinking))
    else:
        yield from _policy_runtimes(RunFolder.open(path), base, thinking)


def require_adapter(adapter: Path | None, base: Path) -> None:
    """Raises UsageError, or ModelError for another base's, unless it can go beside this file."""
    from edgetool.gguf_base.adapter import require_base

    if adapter is None:
        return
    if not is_gguf(base):
        raise UsageError(f"--adapter {adapter}: goes with a GGUF file, and {base} is none")
    if not adapter.is_file():
        raise UsageError(f"--adapter {adapter}: no such file")
    require_base(adapter, base)


@contextmanager
def gguf_runtime(
    path: Path,
    template: str | None = None,
    thinking: bool | None = None,
    adapter: Path | None = None,
) -> Iterator[PoolRuntime]:
    """A GGUF file in llama.cpp, named after its quantization: gguf:Q8_0."""
    from edgetool.llama.pool import PoolRuntime

    name = f"gguf:{path.stem.rsplit('.', 1)[-1]}"
    with PoolRuntime(path, name, template=template, thinking=thinking, adapter=adapter) as runtime:
        yield runtime


def _merged(path: Path, template: str | None, *, thinking: bool) -> Held:
    """An ordinary transformers folder in torch, in its own precision."""
    from edgetool.train.load import LoadSettings, load_policy

    settings = LoadSettings(load_in_4bit=False, template=template, thinking=thinking)
    policy = load_policy(path, None, settings)
    print_ = fingerprint(_weights(path), policy.prompter.template)
    return Held(path.name, policy_runtime(policy, "merged", print_), policy.prompter.choice)


def policy_runtime(policy: Policy, name: str = "policy", print_: str = "") -> Runtime:
    """A torch policy with every arm that needs no process of its own."""
    from edgetool.grammar.arms import Arms
    from edgetool.grammar.llguidance import for_tokenizer
    from edgetool.train.runtime import PolicyRuntime

    arms = Arms(lambda: for_tokenizer(policy.tokenizer, policy.prompter.syntax, policy.stop_ids))
    return PolicyRuntime(
        policy,
        name=name,
        constraint=lambda example, arm: arms.constraint(example.tools, arm),
        arms=[arm for arm in ARMS if arm in POLICY_ARMS],
        fingerprint=print_ + (" thinking" if policy.prompter.thinking else ""),
    )


def _policy_runtimes(run: RunFolder, base: bool, thinking: bool | None) -> Iterator[Held]:
    from edgetool.eval.paired import BASE, TRAINED
    from edgetool.run_folder import open_policy

    policy = open_policy(run, trained=True, thinking=thinking)
    weights = Path(run.facts["base"])
    files = [*_weights(weights), *_weights(run.adapter), run.path / "run.json"]
    choice, print_ = policy.prompter.choice, fingerprint(files, policy.prompter.template)
    if base:
        with policy.reference():
            yield Held(BASE, policy_runtime(policy, print_=f"base {print_}"), choice)
    yield Held(TRAINED, policy_runtime(policy, print_=print_), choice)


def _endpoint(url: str, model: str | None, base: bool) -> Runtime:
    from edgetool.eval.endpoint import EndpointRuntime

    if base or not model:
        raise UsageError(f"{url}: an endpoint needs --model NAME, and has no --base")
    return EndpointRuntime(url, model)


def hashes(target: str, adapter: Path | None = None) -> dict[str, str]:
    """SHA-256 of the files that a target's figures depend on, by name.

    adapter   a file beside a GGUF file
    """
    path = Path(target)
    if path.is_file():
        return {file.name: sha256_of(file) for file in (path, adapter) if file}
    files = [*_weights(path), *_weights(path / "adapter")]
    return {str(file.relative_to(path)): sha256_of(file) for file in files}


def _weights(folder: Path) -> list[Path]:
    if folder.is_file():  # a GGUF file
        return [folder]
    if not folder.is_dir():  # a hub id: its name is in run.json
        return []
    return sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
