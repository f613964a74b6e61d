"""The rows that SmolLM2-135M is trained on and measured on.

    EDGETOOL_SHARED=FOLDER python -m scripts.smollm2.rows
        ->  build/smollm2/rows/: train.jsonl for sft, grpo.jsonl of the same requests,
            heldout-{seal-tools,toolrl,snips}.jsonl,
            models/smollm2/heldout.jsonl with the first twenty of each of these

Seal-Tools (dev, Apache-2.0), ToolRL (its SFT rows and API-Bank, Apache-2.0) and Snips (CC0-1.0).
A row keeps the tools it needs and at most three others. One row in eight loses the tools it needs,
so that the model learns to decline, and a few are small talk. Held-out rows are split off by
utterance; those of Snips are its own validation files. No row asks what a held-out row or one of
BFCL asks, and nothing else of BFCL or When2Call is read.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgetool.calls.types import Example
from edgetool.data.convert import Options, convert
from edgetool.data.mix import Harder, harder_row
from edgetool.data.nearness import Pool
from edgetool.data.rows import load_rows, write_rows
from edgetool.data.split import normalised, part_of

ROWS = Path(__file__).resolve().parents[2] / "build" / "smollm2" / "rows"
DEMO = ROWS.parents[2] / "models" / "smollm2" / "heldout.jsonl"
FEW = 20
SEED = 20261130
OTHERS = 2
IRRELEVANCE = 0.12
GRPO_IRRELEVANCE = IRRELEVANCE  # after sft it called a tool in 20 of 20 requests that none fitted
HELD_OUT = 0.12
SNIPS_ROWS = 30  # of each of the seven intents
# Characters of a row's tools, messages and calls: about 480 tokens of SmolLM2's with its template.
LONGEST = 1500
GRPO_LONGEST = 1000
SMALL_TALK = (
    ("Hi there!", "Hello! What can I do for you?"),
    ("Thanks, that was all.", "You are welcome. Have a good day!"),
    ("Good morning, how are you?", "Good morning! I am well, thank you. How can I help?"),
    ("Tell me a joke.", "Why did the scarecrow win a prize? He was outstanding in his field."),
    ("Who are you?", "I am SmolLM, a small language model that can call tools for you."),
    ("What is 2 + 2?", "2 + 2 is 4."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("You were very helpful today.", "I am glad to hear that."),
    ("I am bored.", "Would you like to hear a riddle, or read something new?"),
    ("What does 'brevity' mean?", "Brevity means using few words to say something."),
    ("Never mind, forget it.", "No problem. Tell me when you need something."),
    (
        "Write a short poem about rain.",
        "Rain on the roof, a soft grey song; it washes the dust along.",
    ),
)
SMALL_TALK_ROWS = 4  # of each, with other tools
TOOLRL = (
    "rlla_sft.json",
    "rlla_4k_test.parquet",
    "apibank_level-1-api_processed.json",
    "apibank_level-2-api_processed.json",
)


def main() -> None:
    data = Path(os.environ["EDGETOOL_SHARED"]) / "data"
    sources = {
        "seal-tools": [data / "seal-tools" / "dev.jsonl"],
        "toolrl": [data / "toolrl" / name for name in TOOLRL],
    }
    snips = data / "snips"
    bfcl = [file for file in sorted(data.glob("bfcl_v4/*.json")) if "_relevance" not in file.name]
    asked = {normalised(row.utterance) for row in converted(bfcl)}
    parts: list[list[Example]] = []
    for source, files in sources.items():
        rows = converted(files)
        parts.append([row for row in rows if not _held_out(row)])
        asked |= write(f"heldout-{source}", harder([row for row in rows if _held_out(row)]))
    parts.append(few_of_each(sorted(snips.glob("train_*.json")), SNIPS_ROWS))
    asked |= write("heldout-snips", harder(few_of_each(sorted(snips.glob("valid*.json")), 20)))
    write_mixed("train", [harder(part) for part in parts], asked)
    often = [harder(part, GRPO_IRRELEVANCE, GRPO_LONGEST) for part in parts]
    write_mixed("grpo", often, asked)
    held = (load_rows(ROWS / f"heldout-{source}.jsonl")[:FEW] for source in (*sources, "snips"))
    write_rows(DEMO, (row for some in zip(*held, strict=True) for row in some))


def write_mixed(name: str, parts: Sequence[Sequence[Example]], asked: set[str]) -> None:
    """The rows of all parts that do not ask what is measured, and small talk, shuffled."""
    rows = [row for part in parts for row in part if normalised(row.utterance) not in asked]
    rows += small_talk(rows)
    random.Random(SEED).shuffle(rows)
    write(name, rows)


def small_talk(rows: Sequence[Example]) -> list[Example]:
    """Rows that ask for no tool, each with the tools of some other row."""
    rng = random.Random(SEED)
    return [
        Example(
            id=f"small-talk/{number}-{again}",
            messages=({"role": "user", "content": said},),
            tools=rng.choice(rows).tools,
            calls=(),
            completion=answer,
        )
        for number, (said, answer) in enumerate(SMALL_TALK)
        for again in range(SMALL_TALK_ROWS)
    ]


def converted(files: Iterable[Path]) -> list[Example]:
    """Rows of the files, their ids made unique by the file's name, each utterance's first rows."""
    rows: list[Example] = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            out = Path(folder) / "rows.jsonl"
            convert(str(file), out, Path(folder) / "rejected.jsonl", Options())
            rows += [replace(row, id=f"{file.stem}/{row.id}") for row in load_rows(out)]
    return rows


def few_of_each(files: Sequence[Path], count: int) -> list[Example]:
    """`count` rows of each file, drawn at random."""
    rng = random.Random(SEED)
    return [row for file in files for row in rng.sample(converted([file]), count)]


def harder(
    rows: Sequence[Example], irrelevance: float = IRRELEVANCE, longest: int = LONGEST
) -> list[Example]:
    """Fewer tools, other tools beside them, some rows without the tool they need; short rows."""
    trimmed = [trim(row) for row in rows]
    how = Harder(irrelevance, pool=Pool(tool for row in trimmed for tool in row.tools))
    rng = random.Random(SEED)
    made = (harder_row(row, replace(how, distractors=rng.randint(0, 1)), SEED) for row in trimmed)
    short = (shortened(row, longest) for row in made)
    return [row for row in short if _length(row) <= longest]


def shortened(row: Example, longest: int) -> Example:
    """The row without the tools it does not need, from the last one, until it is short enough."""
    needed = {call.name for call in row.calls}
    for tool in reversed(row.tools):
        if _length(row) > longest and tool.name not in needed and len(row.tools) > 1:
            row = replace(row, tools=tuple(kept for kept in row.tools if kept is not tool))
    return row


def trim(row: Example) -> Example:
    """The row with the tools it needs and at most OTHERS more, in their order."""
    rng = random.Random(f"{SEED}/{row.id}")
    needed = {call.name for call in row.calls}
    others = [tool.name for tool in row.tools if tool.name not in needed]
    kept = needed.union(rng.sample(others, min(len(others), rng.randint(0, OTHERS))))
    if not kept:
        kept = set(others[:1])
    return replace(row, tools=tuple(tool for tool in row.tools if tool.name in kept))


def write(name: str, rows: Sequence[Example]) -> set[str]:
    """The rows' file; what they ask is returned."""
    ROWS.mkdir(parents=True, exist_ok=True)
    write_rows(ROWS / f"{name}.jsonl", rows)
    declined = sum(not row.calls for row in rows)
    print(f"{name}: {len(rows)} rows, {declined} of them without a call")
    return {normalised(row.utterance) for row in rows}


def _held_out(row: Example) -> bool:
    shares = {"held-out": HELD_OUT, "train": 1 - HELD_OUT}
    return part_of(normalised(row.utterance), shares, SEED) == "held-out"


def _length(row: Example) -> int:
    parts = [tool.as_openai() for tool in row.tools], row.messages, [c.arguments for c in row.calls]
    return sum(len(json.dumps(part, ensure_ascii=False)) for part in parts)


if __name__ == "__main__":
    main()
