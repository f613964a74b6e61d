"""Look for what is missing here, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.text import Text

from edgetool.activity import busy, silently
from edgetool.commands.common import JsonOption, TemplateOption, console, group
from edgetool.errors import EdgetoolError
from edgetool.extras import install_command, own_environment
from edgetool.system import quiet_bitsandbytes, version

if TYPE_CHECKING:
    from edgetool.calls.prompt.prompt import Prompter

# Every check is a function that looks at one thing and returns a line. What an extra brings is
# needed only by those who use it, so its absence is a warning; what is there and broken fails.
OK, WARN, FAIL = "ok", "warn", "fail"
MARKS = {OK: ("✓", "green"), WARN: ("!", "yellow"), FAIL: ("✗", "red")}
OLDEST, NEWEST = (3, 10), (3, 13)
ROOM_GIB, VRAM_GIB = 10, 6
GIB = 2**30

# package -> the release that closed a hole which a downloaded model or template could use.
FIXED_IN = {
    "torch": ("2.10.0", "CVE-2026-24747"),
    "transformers": ("4.36.0", "CVE-2023-6730"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "llama-cpp-python": ("0.2.72", "CVE-2024-34359"),
}

app = group()


@app.command(help=__doc__)
def doctor(
    model: Annotated[str | None, typer.Option(help="Try this model's chat template.")] = None,
    template: TemplateOption = None,
    json_: JsonOption = False,
) -> None:
    if not run_doctor(model, console(), template=template, as_json=json_):
        raise typer.Exit(1)


@dataclass(frozen=True)
class Check:
    """What a check found: one line. `mend` is the command to type; None: nothing needs mending."""

    name: str
    state: str
    found: str
    mend: str | None = None


def run_doctor(
    model: str | None, console: Console, *, template: str | None = None, as_json: bool = False
) -> bool:
    """Run every check and show them; returns whether none failed.

    model      a model whose chat template is tried too; None: nano
    template   as `template_choice.choose` is asked for one
    """
    last = partial(chat_template, model or "nano", template)
    tried: list[Callable[[], Check]] = [*CHECKS, last]
    done: list[Check] = []
    for number, check in enumerate(tried, start=1):
        with silently("") if as_json else busy(console, f"check {number} of {len(tried)}"):
            done.append(check())
        if not as_json:
            _show(done[-1], console)
    if as_json:
        print(json.dumps([asdict(check) for check in done], indent=2))
    return all(check.state != FAIL for check in done)


def _show(check: Check, console: Console) -> None:
    mark, colour = MARKS[check.state]
    line = Text.assemble((f"{mark} ", colour), f"{check.name}: {check.found}")
    if check.mend:
        line.append(f"; mend it with: {check.mend}")
    console.print(line, soft_wrap=True)


def _missing(name: str, package: str, extra: str) -> Check | None:
    if version(package) is not None:
        return None
    return Check(name, WARN, f"{package} is not installed", install_command(extra))


def python() -> Check:
    here = ".".join(map(str, sys.version_info[:3]))
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Check("Python", OK, here)
    return Check("Python", FAIL, f"{here}, expected 3.10-3.13", "PYTHON=python3.12 scripts/install")


def torch_build() -> Check:
    """Whether torch was built for a GPU and the driver can serve that build."""
    name = "torch and driver"
    if (missing := _missing(name, "torch", "train")) is not None:
        return missing
    import torch

    build = f"torch {torch.__version__}"
    card = shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        return Check(name, OK, f"{build}, {torch.cuda.get_device_name(0)}")
    if card and torch.version.cuda is None:
        mend = "pip install --force-reinstall torch"
        return Check(name, FAIL, f"{build} is a CPU build, but there is an NVIDIA driver", mend)
    if card:
        found = f"{build} wants CUDA {torch.version.cuda}, and the driver does not serve it"
        return Check(name, FAIL, found, "nvidia-smi  # then update the driver it shows")
    return Check(name, OK, f"{build}, no NVIDIA GPU: small models train on the CPU")


def four_bit() -> Check:
    """A real product with a matrix in 4 bits, on the GPU where there is one."""
    name, mend = "bitsandbytes", "pip install --force-reinstall 'bitsandbytes>=0.47'"
    missing = _missing(name, "bitsandbytes", "train") or _missing(name, "torch", "train")
    if missing is not None:
        return missing
    try:
        error, device = _four_bit_error()
    except (ImportError, OSError, RuntimeError, NotImplementedError, AttributeError) as failed:
        reason = str(failed).strip().split("\n")[0]
        return Check(name, FAIL, f"a 4-bit product failed: {reason}", mend)
    if not error < 0.2:
        return Check(name, FAIL, f"a 4-bit product is off by {error:.0%}", mend)
    return Check(name, OK, f"{version('bitsandbytes')}, a 4-bit product on {device} is right")


def _four_bit_error() -> tuple[float, str]:
    """How far a 4-bit product is from the same one in float32, as a share; and the device."""
    quiet_bitsandbytes()
    import bitsandbytes as bnb
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    drawn = torch.Generator().manual_seed(0)
    plain = torch.nn.Linear(256, 128, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(128, 256, generator=drawn))
    packed = bnb.nn.Linear4bit(256, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    packed.load_state_dict(plain.state_dict())
    packed = packed.to(device)
    inputs = torch.randn(8, 256, generator=drawn)
    with torch.no_grad():
        expected, got = plain(inputs), packed(inputs.to(device)).cpu()
    return float((got - expected).norm() / expected.norm()), device


def vram() -> Check:
    name = "GPU memory"
    if (missing := _missing(name, "torch", "train")) is not None:
        return missing
    import torch

    if not torch.cuda.is_available():
        return Check(name, OK, "no GPU, nothing to look at")
    free, total = torch.cuda.mem_get_info()
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free >= VRAM_GIB * GIB:
        return Check(name, OK, found)
    return Check(name, WARN, found, "nvidia-smi  # shows who holds it, then close those")


def disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / GIB
    found = f"{free:.1f} GiB free here"
    if free >= ROOM_GIB:
        return Check("disk", OK, found)
    mend = "df -h .  # a 3B model and its files take some 10 GiB"
    return Check("disk", WARN, found, mend)


def llama_cpp() -> Check:
    name = "llama.cpp"
    if (missing := _missing(name, "llama-cpp-python", "device")) is not None:
        return missing
    mend = "pip install --force-reinstall --no-binary llama-cpp-python 'llama-cpp-python>=0.3.16'"
    try:
        import llama_cpp as library

        text = library.llama_print_system_info().decode("utf-8", "replace")
        offload = bool(library.llama_supports_gpu_offload())
    except (ImportError, OSError, RuntimeError) as error:
        return Check(name, FAIL, f"it does not load: {error}", mend)
    on = [part.split("=")[0].split(":")[-1].strip() for part in text.split("|") if "= 1" in part]
    found = f"{version('llama-cpp-python')}, {' '.join(on) or 'no CPU features'}"
    return Check(name, OK, f"{found}, {'with' if offload else 'without'} GPU offload")


def grammar() -> Check:
    """Whether llguidance compiles a grammar: it does the work behind outlines."""
    name = "outlines and llguidance"
    for package in ("outlines", "llguidance"):
        if (missing := _missing(name, package, "device")) is not None:
            return missing
    try:
        import llguidance

        rejected = llguidance.LLMatcher.validate_grammar(llguidance.grammar_from("regex", "a+b"))
    except (ImportError, OSError, AttributeError, ValueError) as error:
        rejected = str(error)
    found = f"{version('outlines')} and {version('llguidance')}"
    if rejected:
        mend = "pip install --upgrade 'outlines>=1.2.3' 'llguidance>=1.3'"
        return Check(name, FAIL, f"{found}: a grammar does not compile: {rejected}", mend)
    return Check(name, OK, f"{found}, a grammar compiles")


def unsloth() -> Check:
    """Unsloth pins torch and transformers; its own pins say whether they hold here."""
    name = "unsloth"
    found = version("unsloth")
    if found is None:
        return Check(name, OK, "not installed; only `backend: unsloth` needs it")
    broken = _broken_pins("unsloth") + _broken_pins("unsloth_zoo")
    if broken:
        mend = own_environment("unsloth")
        return Check(name, FAIL, f"{found}, whose pins do not hold: {', '.join(broken)}", mend)
    return Check(name, OK, f"{found}, its pins hold")


def _broken_pins(package: str) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    broken = []
    for line in importlib.metadata.requires(package) or () if version(package) else ():
        try:
            pin = Requirement(line)
        except InvalidRequirement:
            continue
        if pin.marker is not None and not pin.marker.evaluate({"extra": ""}):
            continue
        here = version(pin.name)
        if here is not None and not pin.specifier.contains(here, prereleases=True):
            broken.append(f"{pin.name} {here} is not {pin.specifier}")
    return broken


def security() -> Check:
    name = "security fixes"
    old = [
        f"{package} {here} lacks {fix} ({reason})"
        for package, (fix, reason) in FIXED_IN.items()
        if (here := version(package)) is not None and _number(here) < _number(fix)
    ]
    if not old:
        return Check(name, OK, f"{', '.join(FIXED_IN)} have the known ones or are not installed")
    newer = " ".join(f"'{line.split()[0]}>={FIXED_IN[line.split()[0]][0]}'" for line in old)
    return Check(name, FAIL, "; ".join(old), f"pip install --upgrade {newer}")


def _number(text: str) -> tuple[int, ...]:
    """'2.13.0+cpu' -> (2, 13, 0)."""
    digits = []
    for part in text.partition("+")[0].split("."):
        if not part.isdigit():
            break
        digits.append(int(part))
    return tuple(digits)


def hub() -> Check:
    """Offline is fine for model folders; a hub id needs the network or the cache."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return Check("hub", OK, "offline, because HF_HUB_OFFLINE is set")
    if (missing := _missing("hub", "huggingface_hub", "export")) is not None:
        return missing
    from huggingface_hub.constants import ENDPOINT

    address = urlsplit(ENDPOINT)
    host, port = address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return Check(
            "hub",
            WARN,
            f"{host} is out of reach ({error}); model folders and cached models still work",
            "export HF_HUB_OFFLINE=1  # to use the cache without waiting",
        )
    return Check("hub", OK, f"{host} answers")


def chat_template(model: str, template: str | None = None) -> Check:
    """Whether tools reach the prompts of a model, by its own chat template or another.

    template   as `template_choice.choose` is asked for one
    """
    name = f"chat template of {model}"
    if (missing := _missing(name, "transformers", "train")) is not None:
        return missing
    try:
        prompter = _prompter(model, template)
    except EdgetoolError as error:
        return Check(name, FAIL, str(error).split("\n")[0], _mend(model))
    used = prompter.choice
    read = f"calls are read as {prompter.syntax.NAME}"
    if used is None or not used.replaced:
        return Check(name, OK, f"it shows the model its tools; {read}")
    return Check(name, OK, f"{used.note}; {read}")


def _mend(model: str) -> str:
    """A command that works on a model whose own template cannot be used, or that finds it."""
    if Path(model).exists():
        return f"edgetool init --model {model} --template chatml  # or the turns it was trained on"
    return f"edgetool models {model}"


def _prompter(model: str, template: str | None) -> Prompter:
    from edgetool.catalogue import locate
    from edgetool.train.load import hf_prompter, load_tokenizer

    folder = locate(model)
    return hf_prompter(load_tokenizer(folder), folder, None, template)


CHECKS: tuple[Callable[[], Check], ...] = (
    python, torch_build, four_bit, vram, disk, llama_cpp, grammar, unsloth, security, hub,
)  # fmt: skip
