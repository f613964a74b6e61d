#!/usr/bin/env python3
"""How many rows a second `edgetool data convert` writes, and whether its memory stays flat.

    scripts/bench/convert.py [ROWS ...] [--jobs 2] [--out measured.json] [--folder KEPT]

Records have xLAM-60k's shape, with tools and answers as JSON text: two to four tools of 4,000, one
or two calls, 1.4 kB. One record in fifty has a value of the wrong type and is rejected.
Time is the command's own, from its start to its files flushed to disk. Memory is the most that all
its processes held together, read every 50 ms; pages that they share count more than once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from scripts.nano import words  # noqa: E402

TOOLS = 4000
SPOILED = 50
JSON_TYPES = {"string": "str", "integer": "int", "number": "float"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Keep the records made here for a next time.")
    parser.add_argument("--only-make", action="store_true", help="Make the records, no more.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            source = (options.folder or Path(folder)) / f"rows-{rows}.jsonl"
            if not source.exists():
                write(source, rows)
            if options.only_make:
                continue
            measured.append(measure(source, rows, options.jobs))
            print(json.dumps(measured[-1]), flush=True)
    told = {"machine": machine(), "jobs": options.jobs, "runs": measured}
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")


def write(path: Path, rows: int) -> None:
    rng = random.Random(0)
    tools = [make_tool(rng, number) for number in range(TOOLS)]
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps(record(rng, tools, number)) + "\n")


def make_tool(rng: random.Random, number: int) -> dict[str, Any]:
    verb, noun = rng.choice(words.VERBS), rng.choice(words.NOUNS)
    table = {}
    for name in rng.sample(sorted(words.PARAMETERS), rng.randint(1, 4)):
        meaning, kind = words.PARAMETERS[name]
        table[name] = {"description": f"The {meaning} of the {noun}.", "type": JSON_TYPES[kind]}
    return {
        "name": f"{verb}_{noun}_{number}",
        "description": f"{verb.capitalize()}s a {noun}, using what the service knows of it.",
        "parameters": table,
    }


def record(rng: random.Random, tools: list[dict[str, Any]], number: int) -> dict[str, Any]:
    offered = rng.sample(tools, rng.randint(2, 4))
    called = offered[: rng.randint(1, 2)]
    answers = [{"name": t["name"], "arguments": values(rng, t["parameters"])} for t in called]
    if number % SPOILED == SPOILED - 1:
        name = next(iter(answers[0]["arguments"]))
        answers[0]["arguments"][name] = {"spoiled": True}
    said = "; ".join(f"{a['name']} with {a['arguments']}" for a in answers)
    packed = {"tools": json.dumps(offered), "answers": json.dumps(answers)}
    return {"id": number, "query": f"Please {said}, will you?", **packed}


def values(rng: random.Random, table: dict[str, Any]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, cell in table.items():
        kind = cell["type"]
        drawn[name] = words.pseudo_phrase(rng) if kind == "str" else rng.randint(1, 500)
    return drawn


def measure(source: Path, rows: int, jobs: int) -> dict[str, Any]:
    out = source.with_name("out.jsonl")
    command = [sys.executable, "-m", "edgetool", "data", "convert", str(source)]
    command += ["--out", str(out), "--jobs", str(jobs)]
    before = os.times()
    began, most = time.monotonic(), 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, resident(process.pid))
            time.sleep(0.05)
        seconds = time.monotonic() - began
        said = process.stdout.read() if process.stdout else ""
    after = sum(os.times()[2:4])
    rejected = rows // SPOILED
    expected = f"read {rows} rows: {rows - rejected} written"
    if process.returncode or expected not in said:
        sys.exit(f"the conversion went wrong: {said}")
    return {
        "rows": rows,
        "bytes_per_row": round(source.stat().st_size / rows),
        "rejected": rejected,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after - before.children_user - before.children_system, 2),
        "rows_per_second": round(rows / seconds),
        "peak_mib": round(most / 2**20),
    }


def resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended
    own = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    return own + sum(resident(int(child)) for child in children)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": os.cpu_count(), "python": sys.version.split()[0]}


if __name__ == "__main__":
    main()
