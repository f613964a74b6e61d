"""The bundled demo rows: Snips utterances (CC0-1.0, arXiv:1805.10190) as single tool calls.

Each row offers a few candidate tools; in about 15 % of rows the needed tool is absent, and no call
is right. Splits share no utterance: `train` is for GRPO, `validation` for measuring, and
`pretrain` is what the embedded model nano was made from.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.errors import UsageError

SPLITS = ("train", "validation", "pretrain")
NO_CALL_SHARE = 0.15
FEWEST_TOOLS, MOST_TOOLS = 2, 4


@dataclass(frozen=True)
class Utterance:
    """What a person said, in pieces (text, argument name or None), and the tool it asks for."""

    tool: str
    pieces: tuple[tuple[str, str | None], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    def call(self, tool: Tool) -> ExpectedCall:
        """The call to `tool`, arguments in the order of its schema, values as spans of the text."""
        said = {name: text for text, name in self.pieces if name}
        order = [name for name in tool.parameters["properties"] if name in said]
        return ExpectedCall(tool.name, {name: said[name] for name in order})


def examples(split: str, count: int | None = None, seed: int = 0) -> list[Example]:
    """The first `count` rows of a split (all by default), the same ones for the same seed."""
    rng = random.Random(f"{split}/{seed}")
    utterances = list(read_utterances(split))
    rng.shuffle(utterances)
    catalogue = tools()
    return [
        _example(f"snips-{split}-{i:05d}", utterance, catalogue, rng)
        for i, utterance in enumerate(utterances[:count])
    ]


@cache
def tools() -> tuple[Tool, ...]:
    """The seven tools the demo's utterances are about."""
    text = files(__package__).joinpath("tools.json").read_text(encoding="utf-8")
    return tuple(Tool(**entry["tool"]) for entry in json.loads(text))


def read_utterances(split: str) -> Iterator[Utterance]:
    if split not in SPLITS:
        raise UsageError(f"unknown demo split '{split}'; known: {', '.join(SPLITS)}")
    packed = files(__package__).joinpath("utterances.jsonl.gz").read_bytes()
    for line in gzip.decompress(packed).decode("utf-8").splitlines():
        row = json.loads(line)
        if row["split"] == split:
            pieces = tuple((piece[0], piece[1] if piece[1:] else None) for piece in row["pieces"])
            yield Utterance(row["tool"], pieces)


def _example(id_: str, said: Utterance, catalogue: tuple[Tool, ...], rng: random.Random) -> Example:
    needed = next(tool for tool in catalogue if tool.name == said.tool)
    others = [tool for tool in catalogue if tool is not needed]
    answerable = rng.random() >= NO_CALL_SHARE
    offered = rng.sample(others, rng.randint(FEWEST_TOOLS, MOST_TOOLS) - answerable)
    if answerable:
        offered.insert(rng.randint(0, len(offered)), needed)
    calls = (said.call(needed),) if answerable else ()
    return Example(id_, ({"role": "user", "content": said.text},), tuple(offered), calls)
