"""Which tools of a pool look like a given one: cosine of TF-IDF over the words they are told in.

Words that more than a tenth of the pool uses ("get", "the") tell nothing apart and are skipped.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from edgetool.calls.types import Tool
from edgetool.data.words import WORD

# A tool this near to the one a row needs might do the same: as a distractor it would make the row
# wrong.
TWIN = 0.8
_COMMON = 0.1
_FEW = 10  # in a pool this small every word tells something


class Pool:
    """Tools by name, the first of each name, and how near they are to others."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools: list[Tool] = []
        seen: set[str] = set()
        for tool in tools:
            if tool.name not in seen:
                seen.add(tool.name)
                self.tools.append(tool)
        counts = [Counter(_words(tool)) for tool in self.tools]
        used = Counter(word for count in counts for word in count)
        most = max(_FEW, _COMMON * len(self.tools))
        self._rarity = {
            word: math.log(1 + len(self.tools) / number)
            for word, number in used.items()
            if number <= most
        }
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for index, count in enumerate(counts):
            for word, weight in self._vector(count).items():
                self._postings[word].append((index, weight))
        self._kept: dict[str, list[tuple[float, Tool]]] = {}

    def near(self, tool: Tool, count: int, without: Collection[str] = ()) -> list[Tool]:
        """The `count` tools nearest to `tool`, nearest first; never it, its twins, or `without`.

        Fewer when the pool has no more; tools with no word in common come last, in their order.
        """
        found: list[Tool] = []
        for nearness, other in self._ranked(tool):
            if len(found) == count:
                break
            if other.name not in without and not _same(tool, other, nearness):
                found.append(other)
        return found

    def twins(self, tool: Tool) -> set[str]:
        """Names of the pool's tools that might do what `tool` does, its own among them."""
        near = self._ranked(tool)
        return {tool.name} | {other.name for n, other in near if _same(tool, other, n)}

    def told_in(self, text: str) -> set[str]:
        """Names of the pool's tools that share a telling word with the text."""
        words = {word.casefold() for word in WORD.findall(text)}
        found = (self._postings[word] for word in words if word in self._postings)
        return {self.tools[index].name for postings in found for index, _ in postings}

    def _ranked(self, tool: Tool) -> list[tuple[float, Tool]]:
        if tool.name not in self._kept:
            scores: dict[int, float] = dict.fromkeys(range(len(self.tools)), 0.0)
            for word, weight in self._vector(Counter(_words(tool))).items():
                for index, other in self._postings.get(word, ()):
                    scores[index] += weight * other
            order = sorted(scores, key=lambda index: (-scores[index], index))
            if len(self._kept) >= _RANKINGS:
                self._kept.clear()
            # More than any row asks for; the whole ranking of every tool would be its square.
            ranked = [(scores[index], self.tools[index]) for index in order[:_RANKED]]
            self._kept[tool.name] = ranked
        return self._kept[tool.name]

    def _vector(self, words: Counter[str]) -> dict[str, float]:
        """Unit length, so that a dot product is a cosine."""
        weights = {w: n * self._rarity[w] for w, n in words.items() if w in self._rarity}
        norm = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / norm for word, weight in weights.items()} if norm else {}


_RANKED = 64
_RANKINGS = 4096


def _same(tool: Tool, other: Tool, nearness: float) -> bool:
    described = tool.description.casefold() == other.description.casefold() != ""
    return tool.name == other.name or nearness >= TWIN or described


def _words(tool: Tool) -> list[str]:
    """Words of the name (twice: they say most), the description and the parameters' names."""
    names = " ".join(tool.parameters.get("properties") or {})
    text = f"{tool.name} {tool.name} {tool.description} {names}"
    return [word.casefold() for word in WORD.findall(text)]
