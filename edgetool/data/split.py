"""One file of rows -> several that share no utterance, no tool or no service.

By utterance a row's part follows from a hash of what the user said first, so rows stream through,
the same words always land in the same part, and adding rows moves no other row. By tool or service
the groups that one row calls together stay together, whole groups are dealt out, and a tool that
belongs to another part is taken off the offer: nothing of it can be learned.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgetool.calls.types import Example, Tool
from edgetool.data.rows import line_of, stream_rows
from edgetool.errors import UsageError
from edgetool.files import building_files, open_text

_EDGE = re.compile(r"^\W+|\W+$")
Groups = Callable[[Example], list[str]]


@dataclass
class SplitSummary:
    """Rows written for each part; rows left out because no tool stayed; tools taken off offers."""

    rows: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    tools_removed: int = 0


def split(
    source: Path, out: Path, shares: dict[str, float], by: str = "utterance", seed: int = 0
) -> SplitSummary:
    """Write `out`/<part>.jsonl for every part. by: utterance, tool or service.

    Raises UsageError for shares that are none, or fewer groups than parts.
    """
    if by not in ("utterance", "tool", "service"):
        raise UsageError(f"cannot split by '{by}'; type --by utterance, tool or service")
    if not shares or min(shares.values()) <= 0:
        raise UsageError("every part needs a share above 0, such as --part train=0.9")
    rows = _by_utterance(source, shares, seed)
    summary = SplitSummary()
    if by != "utterance":
        rows = _by_group(source, shares, seed, _GROUPS[by], summary)
    targets = [out / f"{part}.jsonl" for part in shares]
    out.mkdir(parents=True, exist_ok=True)
    with building_files(targets) as parts, ExitStack() as stack:
        opened = [stack.enter_context(open_text(part)) for part in parts]
        files = dict(zip(shares, opened, strict=True))
        for part, example in rows:
            files[part].write(line_of(example))
            summary.rows[part] += 1
    return summary


def normalised(utterance: str) -> str:
    """Case, white space and the punctuation at both ends do not make another utterance."""
    return _EDGE.sub("", " ".join(utterance.casefold().split()))


def part_of(key: str, shares: dict[str, float], seed: int) -> str:
    """The part a key belongs to, by its hash: in the long run each part gets its share."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode("utf-8", "replace"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64 * sum(shares.values())
    for part, share in shares.items():
        place -= share
        if place < 0:
            return part
    return next(reversed(shares))


def _by_utterance(
    source: Path, shares: dict[str, float], seed: int
) -> Iterator[tuple[str, Example]]:
    for example in stream_rows(source):
        yield part_of(normalised(example.utterance), shares, seed), example


def _by_group(
    source: Path, shares: dict[str, float], seed: int, groups: Groups, summary: SplitSummary
) -> Iterator[tuple[str, Example]]:
    """Two passes: which groups are called together, then every row to the part of its groups."""
    part_by_group = _deal(_called_together(source, groups), shares, seed)
    for example in stream_rows(source):
        called = groups(replace(example, tools=_called_tools(example)))
        if called:
            part = part_by_group[called[0]]
        else:
            part = part_of(normalised(example.utterance), shares, seed)
        own = {
            tool.name
            for tool in example.tools
            if part_by_group.get(groups(replace(example, tools=(tool,)))[0], part) == part
        }
        kept = tuple(tool for tool in example.tools if tool.name in own)
        summary.tools_removed += len(example.tools) - len(kept)
        if kept:
            yield part, replace(example, tools=kept)
        else:
            summary.left_out += 1


def tool_groups(example: Example) -> list[str]:
    return [tool.name for tool in example.tools]


def service_groups(example: Example) -> list[str]:
    """The service of each tool: as the row's metadata says, or its name up to the last dot."""
    services = example.metadata.get("services")
    known = services if isinstance(services, dict) else {}
    return [
        str(known.get(tool.name) or tool.name.rpartition(".")[0] or tool.name)
        for tool in example.tools
    ]


_GROUPS: dict[str, Groups] = {"tool": tool_groups, "service": service_groups}


def _called_tools(example: Example) -> tuple[Tool, ...]:
    """The tools that the row calls, now or in an earlier turn."""
    earlier = (call for message in example.messages for call in message.get("tool_calls") or [])
    names = {call.name for call in example.calls}
    names |= {call.get("function", call).get("name") for call in earlier}
    return tuple(tool for tool in example.tools if tool.name in names)


def _called_together(source: Path, groups: Groups) -> Counter[frozenset[str]]:
    """Sets of groups that some row calls, with the number of rows of each."""
    found: Counter[frozenset[str]] = Counter()
    for example in stream_rows(source):
        called = frozenset(groups(replace(example, tools=_called_tools(example))))
        if called:
            found[called] += 1
    return found


def _deal(together: Counter[frozenset[str]], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Group -> part. The components, in an order the seed draws, each go where most is missing."""
    sizes: Counter[frozenset[str]] = Counter()
    components = _components(together)
    for groups, count in together.items():
        sizes[components[next(iter(groups))]] += count
    if len(sizes) < len(shares):
        raise UsageError(
            f"the rows' calls make {len(sizes)} separate groups, too few for {len(shares)} parts; "
            "split by utterance, or into fewer parts"
        )
    whole = sum(shares.values())
    missing = {part: share / whole * sum(sizes.values()) for part, share in shares.items()}
    order = sorted(sizes, key=lambda c: hashlib.blake2b(f"{seed}/{sorted(c)}".encode()).digest())
    parts: dict[str, str] = {}
    empty = list(shares)
    for left, component in zip(range(len(order), 0, -1), order, strict=True):
        # The last ones go to parts that would otherwise stay without any.
        among = empty if left <= len(empty) else list(missing)
        part = max(among, key=missing.__getitem__)
        missing[part] -= sizes[component]
        if part in empty:
            empty.remove(part)
        parts.update(dict.fromkeys(component, part))
    return parts


def _components(together: Counter[frozenset[str]]) -> dict[str, frozenset[str]]:
    """Group -> all groups that are called together with it, directly or through others."""
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        parent.setdefault(group, group)
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for groups in together:
        first, *others = sorted(groups)
        for other in [first, *others]:
            parent[root(other)] = root(first)
    members: dict[str, set[str]] = {}
    for group in parent:
        members.setdefault(root(group), set()).add(group)
    whole = {top: frozenset(group) for top, group in members.items()}
    return {group: whole[root(group)] for group in parent}
