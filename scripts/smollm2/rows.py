"""The rows that SmolLM2-135M is trained on and measured on.

    EDGETOOL_SHARED=FOLDER python -m scripts.smollm2.rows
        ->  build/smollm2/rows/train.jsonl and heldout-{seal-tools,toolrl,snips}.jsonl

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
SEED = 20261130
OTHERS = 2
HARDER = Harder(irrelevance=0.12)
HELD_OUT = 0.12
SNIPS_ROWS = 30  # of each of the seven intents
# Characters of a row's tools, messages and calls: about 480 tokens of SmolLM2's with its template.
LONGEST = 1500
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
    train: list[Example] = []
    bfcl = [file for file in sorted(data.glob("bfcl_v4/*.json")) if "_relevance" not in file.name]
    asked = {normalised(row.utterance) for row in converted(bfcl)}
    for source, files in sources.items():
        rows = converted(files)
        held = [row for row in rows if _held_out(row)]
        train += harder([row for row in rows if not _held_out(row)])
        asked |= write(f"heldout-{source}", harder(held))
    snips = data / "snips"
    train += harder(few_of_each(sorted(snips.glob("train_*.json")), SNIPS_ROWS))
    asked |= write("heldout-snips", harder(few_of_each(sorted(snips.glob("valid*.json")), 20)))
    train = [row for row in train if normalised(row.utterance) not in asked]
    train += small_talk(train)
    random.Random(SEED).shuffle(train)
    write("train", train)


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


def harder(rows: Sequence[Example]) -> list[Example]:
    """Fewer tools, other tools beside them, some rows without the tool they need; short rows."""
    trimmed = [trim(row) for row in rows]
    how = replace(HARDER, pool=Pool(tool for row in trimmed for tool in row.tools))
    rng = random.Random(SEED)
    made = (harder_row(row, replace(how, distractors=rng.randint(0, 1)), SEED) for row in trimmed)
    return [row for row in map(shortened, made) if _length(row) <= LONGEST]


def shortened(row: Example) -> Example:
    """The row without the tools it does not need, from the last one, until it is short enough."""
    needed = {call.name for call in row.calls}
    for tool in reversed(row.tools):
        if _length(row) > LONGEST and tool.name not in needed and len(row.tools) > 1:
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
