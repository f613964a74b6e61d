"""A training run's configuration: YAML and --set -> checked, resolved, every error reported.

    model: nano                  # a transformers folder, a hub id, a GGUF file, or the default
    output_dir: runs/my
    data: {train: rows.jsonl, validation: held_out.jsonl}
    rewards: {paper: 1.0}        # name: weight, or name: {weight: 0.5, until: 0.9, then: 0.125}
    lora: {r: 16, lora_alpha: 32}
    grpo: {num_generations: 8, learning_rate: 1.0e-5}
    sft: {max_steps: 50}         # read by `edgetool sft`, a warm start

Configuration stops here: the code behind it gets plain values.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from edgetool.data.sources import DEMO
from edgetool.errors import ConfigError, UsageError
from edgetool.train.foreign_keys import FOREIGN, advice, in_section
from edgetool.train.settings import (
    GRPOSettings,
    LoraSettings,
    RewardSettings,
    RolloutSettings,
    SFTSettings,
)


@dataclass(frozen=True)
class DataSettings:
    """Rows to train on, and rows to measure on.

    train             `demo`, or a file of rows to train on
    validation        `demo`, or a file of held-out rows, which evaluation and export measure on
    train_rows        use only the first so many; None: all
    validation_rows   use only the first so many; None: all
    """

    train: str = DEMO
    validation: str = DEMO
    train_rows: int | None = None
    validation_rows: int | None = None


def _weight_alone(value: Any) -> Any:
    return value if isinstance(value, Mapping | RewardSettings) else {"weight": value}


def _shortest(reward: RewardSettings) -> Any:
    return reward.weight if reward.until is None else dataclasses.asdict(reward)


Reward = Annotated[RewardSettings, BeforeValidator(_weight_alone)]


@dataclass(frozen=True)
class Config:
    """Everything a training run is told.

    model         a card's name, a transformers folder, a hub id, a GGUF file, or nano
    output_dir    the run's folder, where everything is written
    load_in_4bit  quantize the base to NF4 with double quantization
    data          the rows
    lora          the adapter
    grpo          `edgetool train`
    rollout       who writes its completions
    sft           `edgetool sft`, a warm start
    attn_implementation   of the training pass: sdpa, or flex_attention, which skips what a
                  completion does not see (NVIDIA GPU)
    backend       plain, or unsloth: its patches under our trainer, on an NVIDIA GPU
    call_syntax   None: the one the model's chat template teaches
    template      the chat template: own, a name of edgetool's (chatml, gemma, ...) or a file; None:
                  the model's own where it shows tools, else edgetool's for its turns
    thinking      the model thinks before it answers, where its chat template has a switch for it
    rewards       reward function -> its weight, or more: a name of `edgetool reward list`, or one's
                  own as file.py:function or package:function
    """

    model: str
    output_dir: str
    load_in_4bit: bool = True
    attn_implementation: Literal["sdpa", "flex_attention"] = "sdpa"
    backend: Literal["plain", "unsloth"] = "plain"
    call_syntax: str | None = None
    template: str | None = None
    thinking: bool = False
    data: DataSettings = field(default_factory=DataSettings)
    rewards: dict[str, Reward] = field(default_factory=lambda: {"paper": RewardSettings()})
    lora: LoraSettings = field(default_factory=LoraSettings)
    grpo: GRPOSettings = field(default_factory=GRPOSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    sft: SFTSettings = field(default_factory=SFTSettings)

    def dump(self) -> str:
        """The resolved configuration as YAML; reading it back gives an equal Config."""
        values = dataclasses.asdict(self)
        values["rewards"] = {name: _shortest(reward) for name, reward in self.rewards.items()}
        return yaml.safe_dump(_plain(values), sort_keys=False)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `--set a.b=c` overrides.

    Raises UsageError when there is no such file, ConfigError with all that is wrong in it.
    """
    values = read_values(path)
    override_values(values, overrides)
    return build_config(values, str(path))


def read_values(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, not checked. Raises UsageError and ConfigError."""
    if not path.is_file():
        raise UsageError(f"no configuration at {path}; give a YAML file with --config")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, such as `model: nano`")
    return values


def override_values(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Apply `--set a.b=c` overrides in place. Raises ConfigError for one that cannot be meant."""
    for override in overrides:
        _apply(values, override)


def build_config(values: Mapping[str, Any], where: str) -> Config:
    """Plain values -> Config. Raises ConfigError naming every unknown key and bad value."""
    problems = _unknown_keys(values, Config)
    config, wrong = _checked(values)
    problems += [problem for problem in wrong if problem not in problems]
    if config is None or problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))
    return config


def _checked(values: Mapping[str, Any]) -> tuple[Config | None, list[str]]:
    """The configuration, or None, and all bad values.

    A settings class stops at its first one: it is set aside, and the rest is checked again.
    """
    rest: Any = copy.deepcopy(values)
    problems: list[str] = []
    named: set[tuple[Any, ...]] = set()
    while True:
        try:
            return TypeAdapter(Config).validate_python(rest), problems
        except ValidationError as error:
            removed = False
            for entry in error.errors():
                at = _place(entry)
                if at in named:  # a value that its absence makes wrong has been spoken of
                    continue
                named.add(at)
                problems.append(_describe(entry))
                removed |= _remove(rest, at)
            if not removed:
                return None, problems


def _place(error: Any) -> tuple[Any, ...]:
    """The keys that lead to a bad value; a settings class names its own in the message."""
    if error["type"] != "value_error":
        return tuple(error["loc"])
    name = error["msg"].removeprefix("Value error, ").partition(" = ")[0]
    return (*error["loc"], name.partition(".")[0])


def _remove(values: Any, at: Sequence[Any]) -> bool:
    """Take the value at these keys away, or the outermost that is there instead of keys."""
    *parents, last = at
    for depth, parent in enumerate(parents):
        inner = values.get(parent) if isinstance(values, dict) else None
        if not isinstance(inner, dict):
            return _remove(values, at[: depth + 1]) if depth + 1 < len(at) and inner else False
        values = inner
    return isinstance(values, dict) and values.pop(last, None) is not None


def _apply(values: dict[str, Any], override: str) -> None:
    """Put one `a.b=c` into nested values; c is read as YAML."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: expected key=value, such as grpo.max_steps=100")
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent} is a value and has no keys")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error


def _unknown_keys(values: Mapping[str, Any], kind: Any, prefix: str = "") -> list[str]:
    known = get_type_hints(kind)
    problems = []
    for key, value in values.items():
        if key not in known:
            hint = key_hint(str(key), prefix, list(known))
            problems.append(f"unknown key '{prefix}{key}'; {hint}")
        elif dataclasses.is_dataclass(known[key]) and isinstance(value, Mapping):
            problems += _unknown_keys(value, known[key], f"{prefix}{key}.")
        elif key == "rewards" and isinstance(value, Mapping):
            for name, reward in value.items():
                if isinstance(reward, Mapping):
                    problems += _unknown_keys(reward, RewardSettings, f"{prefix}{key}.{name}.")
    return problems


def key_hint(key: str, prefix: str, known: Sequence[str]) -> str:
    """What to write instead of a key that `prefix`, "grpo." for one, does not have.

    known   the keys that it has
    """
    section = prefix.rstrip(".")
    if hint := advice(key, section):
        return hint
    if homes := homes_of(key):
        return f"write {homes}"
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.6):
        return f"did you mean '{prefix}{near[0]}'?"
    elsewhere = [name for section in _sections().values() for name in get_type_hints(section)]
    if near := difflib.get_close_matches(key, [*elsewhere, *FOREIGN], n=1, cutoff=0.75):
        return f"for {near[0]}: {advice(near[0], section) or f'write {homes_of(near[0])}'}"
    return f"known: {', '.join(known)}; `edgetool config` says what they do"


def _sections() -> dict[str, Any]:
    """The settings class of each section."""
    known = get_type_hints(Config).items()
    return {name: kind for name, kind in known if dataclasses.is_dataclass(kind)}


def homes_of(name: str) -> str:
    """Where the configuration has a key of this name, as the user writes it; "" for nowhere."""
    homes = [f"{section}." for section, kind in _sections().items() if name in get_type_hints(kind)]
    if name in get_type_hints(Config):
        return name
    if homes == ["grpo.", "sft."]:
        return in_section(f"*.{name}", "")
    return " or ".join(f"{home}{name}" for home in homes)


def _describe(error: Any) -> str:
    """One pydantic error in our words."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"'{key}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        message = f"expected a list, such as [{error['input']}]"
    if error["type"] == "value_error":  # from a settings class, which names key and value itself
        return f"{key}: {message}"
    return f"{key} = {error['input']!r}: {message}"


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
