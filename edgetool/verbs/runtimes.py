"""What `edgetool eval` can hold: a run's policy, a model folder, a GGUF file, an endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.errors import UsageError
from edgetool.eval.paired import BASE, TRAINED
from edgetool.files import sha256_of
from edgetool.fingerprint import fingerprint
from edgetool.run_folder import RunFolder
from edgetool.runtime import ARMS, CONSTRAINED, FREE, NAMES_ONLY, Runtime

if TYPE_CHECKING:
    from edgetool.llama.pool import PoolRuntime
    from edgetool.train.policy import Policy

POLICY_ARMS = (FREE, CONSTRAINED, NAMES_ONLY)
WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json")


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
) -> Iterator[Held]:
    """Each runtime of a target in turn, the base model's first; one is over when the next comes.

    model      the name an endpoint knows its model by
    template   as `template_choice.choose` is asked for one
    thinking   the model thinks before it answers; None: as it was trained to
    """
    path = Path(target)
    if template and (re.match(r"https?://", target) or (path / "run.json").is_file()):
        raise UsageError(
            f"--template {template}: goes with a GGUF file or a model folder; a run keeps the "
            "template it was trained with, and an endpoint has its own"
        )
    if re.match(r"https?://", target):
        if thinking:
            raise UsageError(
                f"{target}: --thinking is for models here; an endpoint has its own way"
            )
        yield Held(model or "", _endpoint(target, model, base))
    elif path.suffix == ".gguf":
        if base:
            raise UsageError("--base needs a run folder: a GGUF file does not hold its base model")
        with gguf_runtime(path, template, thinking) as runtime:
            yield Held(path.stem, runtime, runtime.chat_template)
    elif (path / "config.json").is_file():
        if base:
            raise UsageError(f"--base needs a run folder: {path} does not hold its base model")
        yield _merged(path, template, thinking=bool(thinking))
    else:
        yield from _policy_runtimes(RunFolder.open(path), base, thinking)


@contextmanager
def gguf_runtime(
    path: Path, template: str | None = None, thinking: bool | None = None
) -> Iterator[PoolRuntime]:
    """A GGUF file in llama.cpp, named after its quantization: gguf:Q8_0."""
    from edgetool.llama.pool import PoolRuntime

    name = f"gguf:{path.stem.rsplit('.', 1)[-1]}"
    with PoolRuntime(path, name, template=template, thinking=thinking) as runtime:
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


def hashes(target: str) -> dict[str, str]:
    """SHA-256 of the files that a target's figures depend on, by name."""
    path = Path(target)
    if path.is_file():
        return {path.name: sha256_of(path)}
    files = _weights(path) if path.is_dir() else []
    adapter = path / "adapter"
    return {str(file.relative_to(path)): sha256_of(file) for file in [*files, *_weights(adapter)]}


def _weights(folder: Path) -> list[Path]:
    if not folder.is_dir():  # a hub id: its name is in run.json
        return []
    return sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
