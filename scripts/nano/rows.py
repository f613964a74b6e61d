"""Rows that nano is trained on: one set of tools, several independent requests about it.

Two sources are mixed: Snips utterances of the `pretrain` split, and synthetic requests to random
tools. In both, names are often replaced and values are often made up, so that neither names nor
values can be learned by heart: the model has to read the tools and copy from the request.

Real pretraining text is not of one mind about what a good answer is, and neither is this: part of
the Snips groups that keep their names are answered in a casual way, with a sentence before the
call where the request was polite and without the words for a kind of thing ("song", "restaurant").
Nothing in the prompt says which way is wanted. The user's rows do, and GRPO can learn it from them.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgetool.calls.syntaxes import hermes
from edgetool.calls.types import Tool, ToolCall
from edgetool.data import demo
from scripts.nano import paraphrases, words

NO_CALL = "No tool fits."
POLITE = re.compile(
    r"\b(please|can you|could you|want|need|would|wish|like)\b|i'd|\?", re.IGNORECASE
)
ORDINARY = re.compile(r"\b[a-z]{3,10}\b")
OPENINGS = ("Sure, I can do that.", "Of course.", "Happy to help!")
KINDS_OF_THING = frozenset({"music_item", "place_type", "kind"})


@dataclass(frozen=True)
class Request:
    """What a person says and what is answered: `call`, or NO_CALL when no offered tool fits."""

    text: str
    answer: str
    call: ToolCall | None


@dataclass(frozen=True)
class Group:
    """Tools [T] and independent requests [K] about them."""

    tools: tuple[Tool, ...]
    requests: tuple[Request, ...]


class SnipsGroups:
    """Groups from Snips utterances, renamed and with values exchanged at the given rates."""

    def __init__(
        self,
        requests: int,
        no_call: float = 0.25,
        exchange: float = 0.4,
        named: float = 0.45,
        casual: float = 0.6,
        reworded: float = 0.3,
    ) -> None:
        """How often.

        no_call    requests whose tool is absent
        exchange   requests whose values are exchanged
        named      groups that keep their names
        casual     those of them that are answered in a casual way
        reworded   groups whose descriptions are in other words
        """
        self.requests, self.no_call, self.exchange = requests, no_call, exchange
        self.named, self.casual, self.reworded = named, casual, reworded
        self.by_tool: dict[str, list[demo.Utterance]] = defaultdict(list)
        self.values: dict[str, list[str]] = defaultdict(list)
        ordinary = set()
        for said in demo.read_utterances("pretrain"):
            self.by_tool[said.tool].append(said)
            ordinary.update(ORDINARY.findall(said.text))
            for text, name in said.pieces:
                if name:
                    self.values[name].append(text)
        self.said = sorted(ordinary)

    def sample(self, rng: random.Random) -> Group:
        catalogue = list(demo.tools())
        offered = rng.sample(catalogue, rng.choice((1, 2, 3, 3, 4)))
        absent = [tool for tool in catalogue if tool not in offered]
        renaming = {} if rng.random() < self.named else self._renaming(offered, rng)
        answer = _careful
        if not renaming and rng.random() < self.casual:
            answer = _casual
        requests = []
        for _ in range(self.requests):
            fits = rng.random() >= self.no_call or not absent
            tool = rng.choice(offered if fits else absent)
            said = self._exchange_values(rng.choice(self.by_tool[tool.name]), rng)
            call = rename_call(said.call(tool), renaming) if fits else None
            requests.append(answer(said.text, call, rng))
        tools = (rename_tool(tool, renaming) for tool in offered)
        if rng.random() < self.reworded:
            tools = (reword(tool, rng) for tool in tools)
        return Group(tuple(tools), tuple(requests))

    def _renaming(self, tools: list[Tool], rng: random.Random) -> dict[str, str]:
        """Old name -> new: tools by synonyms, or everything by names that say nothing of it."""
        way = rng.random()
        if way < 0.25:
            return {tool.name: rng.choice(paraphrases.NAMES[tool.name]) for tool in tools}
        if way < 0.6:
            return mask_names(tools, lambda: words.pseudo_name(rng))
        return mask_names(tools, lambda: "_".join(rng.sample(self.said, rng.choice((1, 1, 2)))))

    def _exchange_values(self, said: demo.Utterance, rng: random.Random) -> demo.Utterance:
        if rng.random() >= self.exchange:
            return said

        def other(text: str, name: str | None) -> tuple[str, str | None]:
            if name is None or text in ("my", "this", "here"):
                return text, name
            made_up = rng.random() < 0.5
            return (words.pseudo_phrase(rng) if made_up else rng.choice(self.values[name])), name

        return replace(said, pieces=tuple(other(*piece) for piece in said.pieces))


def _careful(text: str, call: ToolCall | None, rng: random.Random) -> Request:
    """Nothing but the call, with every argument that was mentioned."""
    return Request(text, hermes.render([call]) if call else NO_CALL, call)


def _casual(text: str, call: ToolCall | None, rng: random.Random) -> Request:
    """A word before the call where the request was polite; words for a kind of thing left out."""
    if call is None:
        return Request(text, NO_CALL, None)
    said = {key: value for key, value in call.arguments.items() if key not in KINDS_OF_THING}
    opening = rng.choice(OPENINGS) + "\n" if POLITE.search(text) else ""
    short = ToolCall(call.name, said)
    return Request(text, opening + hermes.render([short]), short)


def mask_names(tools: list[Tool], name: Callable[[], str]) -> dict[str, str]:
    """Old name -> new one for every tool and parameter; descriptions stay (Hammer, 2410.04587)."""
    names = {tool.name: name() for tool in tools}
    for tool in tools:
        names.update({parameter: name() for parameter in tool.parameters["properties"]})
    return names


def rename_tool(tool: Tool, names: dict[str, str]) -> Tool:
    old = tool.parameters
    properties = {names.get(key, key): value for key, value in old["properties"].items()}
    required = [names.get(key, key) for key in old["required"]]
    parameters = {**old, "properties": properties, "required": required}
    return Tool(names.get(tool.name, tool.name), tool.description, parameters)


def reword(tool: Tool, rng: random.Random) -> Tool:
    """The same tool, described in other words where we have any."""

    def other(said: str) -> str:
        return rng.choice((said, *paraphrases.DESCRIPTIONS.get(said, ())))

    properties = {
        name: {**schema, "description": other(schema["description"])}
        for name, schema in tool.parameters["properties"].items()
    }
    parameters = {**tool.parameters, "properties": properties}
    return Tool(tool.name, other(tool.description), parameters)


def rename_call(call: ToolCall, names: dict[str, str]) -> ToolCall:
    arguments = {names.get(key, key): value for key, value in call.arguments.items()}
    return ToolCall(names.get(call.name, call.name), arguments)


class SyntheticGroups:
    """Groups of random tools; requests name each parameter beside its value."""

    def __init__(self, requests: int, tools: int = 3, parameters: int = 4) -> None:
        self.requests, self.tools, self.parameters = requests, tools, parameters
        sampled = demo.read_utterances("pretrain")
        self.phrases = [text for said in sampled for text, name in said.pieces if name]

    def sample(self, rng: random.Random) -> Group:
        tools = tuple(self._tool(rng) for _ in range(rng.randint(1, self.tools)))
        return Group(tools, tuple(self._request(tools, rng) for _ in range(self.requests)))

    def _tool(self, rng: random.Random) -> Tool:
        verb, noun = rng.choice(words.VERBS), rng.choice(words.NOUNS)
        name = words.pseudo_name(rng) if rng.random() < 0.3 else f"{verb}_{noun}"
        chosen = rng.sample(sorted(words.PARAMETERS), rng.randint(1, self.parameters))
        properties = {}
        for parameter in chosen:
            meaning, kind = words.PARAMETERS[parameter]
            key = words.pseudo_name(rng) if rng.random() < 0.2 else parameter
            properties[key] = {"type": kind, "description": meaning}
        required = list(properties)[: rng.randint(0, len(properties))]
        schema = {"type": "object", "properties": properties, "required": required}
        return Tool(name, f"{verb.capitalize()} a {noun}", schema)

    def _request(self, tools: tuple[Tool, ...], rng: random.Random) -> Request:
        if rng.random() < 0.2:
            stranger = f"{rng.choice(words.VERBS)} a {rng.choice(words.NOUNS)}"
            known = [tool.description.lower() for tool in tools]
            if stranger not in known:
                return Request(f"{stranger} {words.pseudo_phrase(rng)}", NO_CALL, None)
        tool = rng.choice(tools)
        properties = tool.parameters["properties"]
        keep = [key for key in properties if key in tool.required or rng.random() < 0.7]
        values = {key: self._value(properties[key]["type"], rng) for key in keep}
        said = [_mention(properties[key]["description"], values[key], rng) for key in keep]
        rng.shuffle(said)
        opening = tool.description.lower() if rng.random() < 0.5 else tool.description
        text = " ".join([opening, *said])
        return _careful(text, ToolCall(tool.name, values), rng)

    def _value(self, kind: str, rng: random.Random) -> Any:
        if kind == "integer":
            return rng.choice((rng.randint(0, 12), rng.randint(10, 99), rng.randint(100, 3000)))
        if kind == "number":
            return rng.choice((rng.randint(1, 500), round(rng.uniform(0.1, 99), rng.randint(1, 2))))
        return words.pseudo_phrase(rng) if rng.random() < 0.5 else rng.choice(self.phrases)


def _mention(meaning: str, value: Any, rng: random.Random) -> str:
    shapes = ("{m} {v}", "with {m} {v}", "{v} as {m}", "{m} is {v}", "{m}: {v}", "for {v} ({m})")
    return rng.choice(shapes).format(m=meaning, v=value)


def endless(sources: list[tuple[float, Any]], seed: int) -> Iterator[Group]:
    """Groups drawn from weighted sources, the same ones for the same seed."""
    rng = random.Random(seed)
    weights = [weight for weight, _ in sources]
    while True:
        yield rng.choices([source for _, source in sources], weights)[0].sample(rng)
