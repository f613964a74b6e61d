"""What the benchmarks share: a shape, a venv per rival, and a measured run in a child process.

Nothing heavy is imported here, since both sides' children import it too, each in its own venv, and
a parent that is small leaves its children's peak memory alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import venv
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"

TORCH = "torch==2.13.0"
TRL = ("trl==1.16.0", "peft", "transformers", "datasets", "bitsandbytes")

# Tokens of the random models: these two, and "w<id>" for every other.
PAD, STOP = 0, 1


@dataclass(frozen=True)
class Spec:
    """One side's run: what is trained on what.

    model         folder of the base
    prompt        P tokens, completion C, generations G, prompts B
    steps         measured ones; one more warms up
    four_bit      NF4 base, otherwise the weights as they are stored
    attention     attn_implementation of our training pass
    memory_gib    the cap on GPU memory, None: all of it
    """

    model: str
    prompt: int
    completion: int
    generations: int
    prompts: int = 1
    steps: int = 1
    threads: int = 0
    checkpointing: bool = False
    four_bit: bool = False
    bf16: bool = False
    device: str = "cpu"
    attention: str = "sdpa"
    memory_gib: float | None = None
    vocabulary: int = 6144

    @property
    def shape(self) -> dict[str, int]:
        return {"P": self.prompt, "C": self.completion, "G": self.generations}

    def prompt_ids(self) -> list[list[int]]:
        """[B][P], the same on both sides."""
        draw = random.Random(0)
        return [
            [draw.randrange(STOP + 1, self.vocabulary) for _ in range(self.prompt)]
            for _ in range(self.prompts)
        ]


def read_spec() -> Spec:
    """In a child: what its parent asks for."""
    return Spec(**json.loads(sys.argv[1]))


def reward_of(text: str) -> float:
    """Any reward will do, so long as a group's differ."""
    return zlib.crc32(text.encode()) % 1009 / 1009


def peak_rss_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cap_memory(spec: Spec) -> None:
    """Hold torch to `memory_gib` of the GPU, as if it had no more."""
    import torch

    torch.set_num_threads(spec.threads or os.cpu_count() or 1)
    if spec.memory_gib is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, spec.memory_gib * 2**30 / total))


def tell(spec: Spec, steps: list[tuple[float, float]]) -> None:
    """In a child: report (rollout, train) seconds per step, the first of them a warm-up."""
    import torch

    rollout, train = zip(*steps[1:], strict=True)
    tokens = spec.prompts * spec.generations * spec.completion
    on_gpu = spec.device.startswith("cuda")
    result = {
        "step_s": statistics.median(a + b for a, b in steps[1:]),
        "rollout_s": statistics.median(rollout),
        "train_s": statistics.median(train),
        "rollout_tokens_per_s": tokens / statistics.median(rollout),
        "train_tokens_per_s": tokens / statistics.median(train),
        "rss_mb": peak_rss_mb(),
        "device_mb": torch.cuda.max_memory_reserved() / 2**20 if on_gpu else 0.0,
    }
    print("RESULT " + json.dumps(result), flush=True)


class Failed(Exception):
    """A child ended without a result; what it last said is the message."""


def measure(python: str, script: str, spec: Spec, timeout: float | None = None) -> dict[str, float]:
    """Run `script` of this folder in a child. Raises Failed when it ends without a result."""
    threads = str(spec.threads or os.cpu_count() or 1)
    places = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads}
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true"}
    try:
        done = subprocess.run(
            [python, str(HERE / script), json.dumps(asdict(spec))],
            env={**os.environ, **quiet, **places},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no result after {timeout} s") from error
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    said = (done.stderr or done.stdout).strip().splitlines()[-6:]
    raise Failed(f"exit code {done.returncode}: " + " | ".join(line.strip() for line in said))


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(r[key] for r in results) for key in results[0]}


def rival_python(name: str, *requirements: str) -> str:
    """The Python of a rival's own venv under build/bench, made when it is not there.

    Raises Failed when something does not install.
    """
    folder = BUILD / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == "\n".join(requirements):
        return str(python)
    print(f"installing {', '.join(requirements)} into {folder.relative_to(ROOT)}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    for wanted in filter(None, (requirements[:1], requirements[1:])):  # torch first, and alone
        command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"pip install {' '.join(wanted)}: {done.stderr.strip()[-500:]}")
    stamp.write_text("\n".join(requirements), encoding="utf-8")
    return str(python)


def make_model(folder: Path, config: dict[str, Any], tokenizer: Path | None = None) -> Path:
    """A model with random weights, made in a child; its tokenizer has one word per token where none
    is named."""
    if not (folder / "tokenizer_config.json").exists():  # written last
        command = [sys.executable, str(HERE / "random_model.py"), str(folder), json.dumps(config)]
        command += ["--tokenizer", str(tokenizer)] if tokenizer else []
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks on a CPU have."""
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--repeats", type=int, default=3, help="child processes per figure")
    parser.add_argument("--steps", type=int, default=1, help="measured steps per child process")
    parser.add_argument("--prompts", type=int, default=1, help="prompts per step")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--json", type=Path, help="write the rows here too")


def spec_of(
    options: argparse.Namespace, model: str, shape: tuple[int, int, int], vocabulary: int
) -> Spec:
    """What those options ask for at a shape (P, C, G)."""
    return Spec(
        model,
        *shape,
        prompts=options.prompts,
        steps=options.steps,
        threads=options.threads,
        checkpointing=options.checkpointing,
        vocabulary=vocabulary,
    )


def write_json(path: Path | None, rows: Any) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
