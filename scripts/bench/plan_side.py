"""Train a few steps and tell the most memory they held, loading left out. A benchmark's child."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import torch

from edgetool.calls.types import Example
from edgetool.rewards.scoring import WeightedReward
from edgetool.system import MIB, resident_mb, tune
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.memory.device import machine_of
from edgetool.train.memory.estimate import plan
from edgetool.train.memory.model_shape import Shape
from edgetool.train.rows import Row
from edgetool.train.settings import LoraSettings
from scripts.bench.ours_side import ByText, nothing, settings_of
from scripts.bench.sides import Spec, cap_memory, read_spec


def main() -> None:
    spec = read_spec()
    tune()
    cap_memory(spec)
    load = LoadSettings(
        load_in_4bit=spec.four_bit,
        bf16=spec.bf16 or None,
        device=spec.device,
        call_syntax="hermes",
        gradient_checkpointing=spec.checkpointing,
    )
    settings, lora = settings_of(spec), LoraSettings()
    config = json.loads((Path(spec.model) / "config.json").read_text(encoding="utf-8"))
    shape = Shape.of(config, spec.model)
    planned = plan(shape, settings, lora, machine_of(shape, load, settings), spec.prompt)
    policy = load_policy(spec.model, lora, load)
    policy.stop_ids = (-1,)  # completions of equal length, whatever the model says
    example = Example("bench", ({"role": "user", "content": ""},), (), ())
    rows = [Row(example, tuple(ids)) for ids in spec.prompt_ids()]
    stepper = ByText(policy, rows, [WeightedReward("none", 1.0, nothing)], settings)
    with Peak(spec) as peak:
        for step in range(1 + spec.steps):
            stepper.run(step)
    result = {
        "planned_mb": planned.total_mb if spec.device == "cpu" else planned.tensors_mb,
        "measured_mb": peak.mb,
        "parts": {f"{p.when}: {p.name}": round(p.bytes / MIB, 1) for p in planned.parts},
    }
    print("RESULT " + json.dumps(result), flush=True)


class Peak:
    """The most memory while a `with` block runs, in MiB: torch's own count on a GPU, else what is
    resident, looked at a hundred times a second."""

    def __init__(self, spec: Spec) -> None:
        self.on_gpu, self.mb, self._done = spec.device != "cpu", 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self.on_gpu:
            self.mb = torch.cuda.max_memory_allocated() / MIB
        else:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.mb = max(self.mb, resident_mb())
            time.sleep(0.01)


if __name__ == "__main__":
    main()
