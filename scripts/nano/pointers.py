"""Where in its prompt a token of an answer is to be read.

Four kinds of pointer, from a token to the tokens it should look at:

    describe   a name in the list of tools -> the words of its own description
    choose     a token before which an answer goes on -> the name, in the list, of what it writes
               about: the tool, then the parameter; the first token of all where there is nothing
               (more) to write about
    name       a token before a token of a tool's or parameter's name -> that token in the list
    value      a token before a token of a value -> that token in the request

`scripts/nano/guide.py` teaches one attention head each of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Encoding

from edgetool.calls.types import Tool
from scripts.nano.rows import Request

Pointer = tuple[int, int]  # a position, and one that it should look at
NOTHING = 0  # the first token of a prompt


@dataclass(frozen=True)
class Entry:
    """The tokens of the words that describe a tool or a parameter, and those that name it."""

    described: list[int]
    named: range


@dataclass(frozen=True)
class Listing:
    """A prompt's list of tools: `encoding` of P tokens, an entry per tool and per parameter."""

    encoding: Encoding
    entries: dict[tuple[str, str | None], Entry]  # (tool, parameter or None)

    def describe(self) -> Iterator[Pointer]:
        for entry in self.entries.values():
            yield from ((name, word) for name in entry.named for word in entry.described)


def read_listing(text: str, encoding: Encoding, tools: Sequence[Tool]) -> Listing:
    """Finds every description and name in the list that nano's template made of `tools`."""
    entries, end = {}, 0
    for tool in tools:
        wanted = [(None, f"\n# {tool.description}: ")]
        wanted += [(k, f"\n{p['description']}: ") for k, p in tool.parameters["properties"].items()]
        for parameter, before in wanted:
            start = text.index(before, end)
            name = start + len(before)
            end = name + len(parameter or tool.name)
            described = [i for i in _tokens(encoding, start, name) if _is_word(text, encoding, i)]
            entries[tool.name, parameter] = Entry(described, _tokens(encoding, name, end))
    return Listing(encoding, entries)


@dataclass(frozen=True)
class Pointers:
    """Of one request and its answer, S tokens behind a list of P.

    A pointer goes from a position in 0..S-1, whose next token is meant, into the list (`choose`
    and `name`, 0..P-1) or to the request (`value`, 0..S-1).
    """

    choose: list[Pointer]
    name: list[Pointer]
    value: list[Pointer]


def follow(request: Request, prompt: Encoding, answer: Encoding, listing: Listing) -> Pointers:
    """What the tokens of `answer` point at; `prompt` is the request as the template has it."""
    before = len(prompt.ids) - 1  # the token before the first of the answer
    found = Pointers([], [], [])
    if request.call is None:
        found.choose.append((before, NOTHING))
        return found
    done = 0
    for part in _parts(request):
        entry = listing.entries[part.about]
        named = _tokens(answer, *part.name)
        found.name.extend(_pairs(answer.ids, named, listing.encoding.ids, entry.named, before))
        if part.value is not None:
            valued = _tokens(answer, *part.value)
            for source in _occurrences(answer.ids, valued, prompt.ids):
                found.value.extend(_pairs(answer.ids, valued, prompt.ids, source, before))
            named = range(named.start, valued.stop)
        found.choose.extend((before + t, s) for t in range(done, named.stop) for s in entry.named)
        done = named.stop
    found.choose.extend((before + t, NOTHING) for t in range(done, len(answer.ids)))
    return found


@dataclass(frozen=True)
class _Part:
    """A name in the text of an answer and the value behind it, as (first, last + 1) characters."""

    about: tuple[str, str | None]
    name: tuple[int, int]
    value: tuple[int, int] | None


def _parts(request: Request) -> Iterator[_Part]:
    call, text = request.call, request.answer
    assert call is not None
    start = text.index('"name": "') + len('"name": "')
    end = start + len(call.name)
    yield _Part((call.name, None), (start, end), None)
    for key, value in call.arguments.items():
        start = text.index(f'"{key}": ', end) + 1
        written = json.dumps(value, ensure_ascii=False)
        quote = isinstance(value, str)
        value_start = start + len(key) + len('": ') + quote
        end = value_start + len(written) - 2 * quote
        yield _Part((call.name, key), (start, start + len(key)), (value_start, end))


def _tokens(encoding: Encoding, start: int, end: int) -> range:
    """The tokens that lie between two characters of the text."""
    inside = [i for i, (a, b) in enumerate(encoding.offsets) if start <= a and b <= end and a < b]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def _is_word(text: str, encoding: Encoding, token: int) -> bool:
    start, end = encoding.offsets[token]
    return text[start:end].isalnum()


def _pairs(
    ids: Sequence[int], targets: range, sources: Sequence[int], source: range, before: int
) -> Iterator[Pointer]:
    """Token by token, where both spell the same; from the position that foretells each."""
    if [ids[t] for t in targets] == [sources[s] for s in source]:
        yield from ((before + t, s) for t, s in zip(targets, source, strict=True))


def _occurrences(ids: Sequence[int], span: range, text: Sequence[int]) -> Iterator[range]:
    wanted = [ids[t] for t in span]
    for start in range(len(text) - len(wanted) + 1) if wanted else ():
        if list(text[start : start + len(wanted)]) == wanted:
            yield range(start, start + len(wanted))
