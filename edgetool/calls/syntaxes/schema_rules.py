"""Normal forms of schemas -> grammar rules, for syntaxes that do not write their values as JSON.

All that a normal form says is held (see schema_tree), lists up to 1,000 items. Where strings stand
as they are (the Gemma family), format is not, nor is a pattern that is more than its ends (see
text_patterns). An object that names properties and says nothing of others has no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgetool.calls.schema.normal_form import KINDS, Normal, Shape, referred
from edgetool.calls.schema.tree import SchemaTree
from edgetool.calls.syntaxes.literals import Spelling
from edgetool.calls.syntaxes.rules import (
    Member,
    Rules,
    length_of,
    literal,
    repeated,
    text_patterns,
    untrusted,
    whole_pattern,
)
from edgetool.calls.types import JsonObject

_LONGEST = 1_000  # items; a longer list is as good as one without end
_QUOTED = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_BARE = r"[^:{}\[\],<\s\"']+(?: [^:{}\[\],<\s\"']+)*"

# The grammar of a member: of its name (a rule or a literal) and the rule of its value.
Pair = Callable[[str, str], str]


class SchemaRules:
    """Grammar rules of values under one tool's schema."""

    def __init__(self, rules: Rules, spelling: Spelling, tree: SchemaTree) -> None:
        self.rules, self.spelling, self.tree = rules, spelling, tree
        self._references: dict[str, str] = {}
        self._anything: str | None = None

    def value(self, node: Normal) -> str:
        """The rule of a value of this normal form, which some value has to fit."""
        if node is True:
            return self.anything()
        name = referred(node)
        if name is not None:
            return self._reference(name)
        if "enum" in node:
            return self.rules.add(" | ".join(self._spelled(value) for value in node["enum"]))
        if "anyOf" in node:
            return self.rules.add(" | ".join(dict.fromkeys(map(self.value, node["anyOf"]))))
        return self._typed(node["type"], node)

    def anything(self) -> str:
        """Any value at all."""
        if self._anything is None:
            self._anything = self.rules.reserve()
            self.rules.define(
                self._anything, " | ".join(self._typed(kind, {"type": kind}) for kind in KINDS)
            )
        return self._anything

    def _reference(self, name: str) -> str:
        if name not in self._references:
            self._references[name] = rule = self.rules.reserve()
            self.rules.define(rule, self.value(self.tree.definitions[name]))
        return self._references[name]

    def _spelled(self, value: Any) -> str:
        """A constant; its quotes may be a marker, its words may not."""
        quote = self.spelling.quote
        if quote is None or not isinstance(value, str):
            return untrusted(self.spelling.write(value))
        return f"{literal(quote)} {untrusted(value)} {literal(quote)}"

    def _typed(self, kind: str, node: JsonObject) -> str:
        if kind == "boolean":
            return self.rules.add(f'"{self.spelling.true}" | "{self.spelling.false}"')
        if kind == "null":
            return self.rules.add(f'"{self.spelling.null}"')
        if kind == "array":
            return self._array(node)
        if kind == "object":
            return self.arguments(Shape.of(node))
        if kind == "string" and self.spelling.quote is not None:
            return self.text(self.spelling.quote, node)
        return self.rules.json(node)

    def text(self, quote: str, node: JsonObject) -> str:
        """Words between quotes that cannot be escaped: the sign they begin with is not among them.

        The engine's lexer does not go back, so it could not tell that sign from the quote itself.
        """
        held = [f"(?s:{one})" for one in text_patterns(node)]
        words = f"[^{quote[0]}]{length_of(node)}"
        inner = self.rules.pattern(words, held=held) if held else f"/{words}/"
        return self.rules.add(f"{literal(quote)} {inner} {literal(quote)}")

    def _array(self, node: JsonObject) -> str:
        prefix = [self.value(one) for one in node.get("prefixItems", ())]
        items = node.get("items", True)
        low, high = node.get("minItems", 0), node.get("maxItems")
        item = None if items is False or high == len(prefix) else self.value(items)
        most = None if high is None or high > _LONGEST else high - len(prefix)
        body = self._rest(item, max(low - len(prefix), 0), most, first=not prefix)
        for at in reversed(range(len(prefix))):
            before = literal(self.spelling.separators[0]) if at else ""
            one = self.rules.add(f"{before} {prefix[at]} {body}")
            body = one if at < low else f"({one})?"
        return self.rules.add(f'"[" {body} "]"')

    def _rest(self, item: str | None, low: int, most: int | None, *, first: bool) -> str:
        """Items from one on: `low` at least, `most` at the most; `first` has none before it."""
        if item is None:
            return ""
        separator = literal(self.spelling.separators[0])
        if not first:
            return repeated(f"{separator} {item}", low, most)
        more = repeated(f"{separator} {item}", max(low - 1, 0), most and most - 1)
        return f"{item} {more}" if low else f"({item} {more})?"

    def arguments(self, shape: Shape) -> str:
        """The rule of an object of this shape."""
        if shape.extra is None and not shape.properties and not shape.patterns:
            shape = Shape({}, shape.required, True, limits=shape.limits)
        between = literal(self.spelling.separators[1])
        body = self.members(shape, self._named, lambda key, value: f"{key} {between} {value}")
        return self.rules.add(f'"{{" {body} "}}"')

    def _named(self, name: str, value: str) -> str:
        between = self.spelling.separators[1]
        if self.spelling.bare_keys:
            return f"{untrusted(name + between)} {value}"
        return f"{self._spelled(name)} {literal(between)} {value}"

    def members(
        self,
        shape: Shape,
        named: Pair,
        free: Pair,
        key: str | None = None,
        separator: str | None = None,
    ) -> str:
        """The members of an object, or the arguments of a call.

        named   the grammar of a member by its name
        free    the grammar of one whose name is no more than allowed, by the rule of its name
        key     what such a name looks like; as in objects by default
        separator   between members; the spelling's by default
        """
        between = self.spelling.separators[0] if separator is None else separator
        names = self.spelling.order(n for n, one in shape.properties.items() if one is not False)
        found = [
            Member(named(name, self.value(shape.properties[name])), name in shape.required)
            for name in names
        ]
        more = self._more(shape, free, key, between)
        return self.rules.members([*found, *more], between)

    def _more(self, shape: Shape, free: Pair, key: str | None, between: str) -> list[Member]:
        """Members that nothing names, together."""
        names = list(shape.properties)
        pairs = [
            free(self._key(key, names, pattern), self.value(one))
            for pattern, one in shape.patterns.items()
            if one is not False
        ]
        if shape.extra is not None and shape.extra is not False:
            other = self._key(key, names, None, unlike=list(shape.patterns))
            pairs.append(free(other, self.value(shape.extra)))
        low = shape.limits.get("minProperties", 0) - len(shape.required)
        most = shape.limits.get("maxProperties")
        if not pairs or (most is not None and most <= len(shape.required)):
            return []
        pair = self.rules.add(" | ".join(pairs))
        separator = literal(between) if between else ""
        upper = None if most is None else most - len(shape.required) - 1
        more = repeated(f"{separator} {pair}", max(low - 1, 0), upper)
        return [Member(f"{pair} {more}", low > 0)]

    def _key(
        self,
        key: str | None,
        names: Sequence[str],
        pattern: str | None,
        unlike: Sequence[str] = (),
    ) -> str:
        """The rule of a name that is none of `names` and, as far as regular expressions of the
        whole name can say, matches `pattern` and none of `unlike`."""
        held = [one for one in map(whole_pattern, [pattern] if pattern else []) if one is not None]
        others = [one for one in map(whole_pattern, unlike) if one is not None]
        if key is not None or self.spelling.bare_keys:
            return self.rules.pattern(key or _BARE, names, held, others)
        if not (names or others) or (pattern is not None and not held):
            return self.rules.json({"type": "string", **({"pattern": pattern} if pattern else {})})
        quoted = [self.spelling.text(name) for name in names]
        return self.rules.pattern(
            _QUOTED, quoted, [f'"{one}"' for one in held], [f'"{one}"' for one in others]
        )
