"""BFCL's rules for one call, as the leaderboard applies them to its Python categories
(Patil et al., ICML 2025; the checker of bfcl-eval 2026.3.23).

A call is right when it has every required argument and every one whose answer does not offer "",
none that is not in the schema and the answer, and each value is of the declared type and accepted:

    type       the declared one, exactly: an integer is no float. An int passes for a float, but not
               inside a list. A value of the type the answer has is taken too, whatever the schema
               says, and then compared as it stands
    string     without spaces and , . / - _ * ^, in lower case, ' as "
    list       in order; strings in it like strings, everything else as it stands
    object     every key's value is among those that the answer lists for that key, strings like
               strings; a key may be left out where the answer offers ""
    otherwise  Python's ==

scripts/bfcl_agreement.py holds these rules against BFCL's own checker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgetool.calls.judge.mistakes import (
    EXTRA_ARGUMENT,
    MISSING_ARGUMENT,
    WRONG_TYPE,
    WRONG_VALUE,
    Mistake,
)
from edgetool.calls.judge.strict import Compared
from edgetool.calls.types import ExpectedCall, Tool, ToolCall

LEFT_OUT = ""  # among the accepted values: the argument or key may be left out

_TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
_IGNORED = re.compile(r"[ ,./\-_*^]")


def compare(call: ToolCall, want: ExpectedCall, tool: Tool | None = None) -> Compared:
    """`tool` declares the types; without one, an argument has the type its answer has."""
    answers = answers_of(want)
    properties = tool.parameters.get("properties", {}) if tool else None
    required = tool.required if tool else ()
    named = dict.fromkeys([*answers, *required, *call.arguments])
    counted = [
        name
        for name in named
        if name in call.arguments or name in required or LEFT_OUT not in answers[name]
    ]
    judged = [_argument(name, call, answers.get(name), properties) for name in counted]
    mistakes = tuple(mistake for mistake in judged if mistake)
    return Compared(len(counted) - len(mistakes), len(counted), mistakes)


def _argument(
    name: str,
    call: ToolCall,
    accepted: Sequence[Any] | None,
    properties: Mapping[str, Any] | None,
) -> Mistake | None:
    """What is wrong with one argument that is named in the answer, the schema or the call."""
    if name not in call.arguments:
        return Mistake(MISSING_ARGUMENT, path=name, **_offered(accepted or ()))
    value = call.arguments[name]
    extra = Mistake(EXTRA_ARGUMENT, path=name, got=value)
    if accepted is None or (properties is not None and name not in properties):
        return extra
    wrong = _mistake(name, value, accepted, (properties or {}).get(name))
    return extra if wrong and _type_of(accepted) is None else wrong  # it could only be left out


def answers_of(want: ExpectedCall) -> Mapping[str, Sequence[Any]]:
    """A row's answer as BFCL spells it; one that is not BFCL's own is put that way."""
    if want.bfcl is not None:
        return want.bfcl
    return {
        name: [*map(_spelled, want.accepted(name)), *([LEFT_OUT] if name in want.optional else [])]
        for name in want.arguments
    }


def _spelled(value: Any) -> Any:
    """An object's values as lists of accepted ones."""
    if isinstance(value, dict):
        return {key: [inner] for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(inner) if isinstance(inner, dict) else inner for inner in value]
    return value


def _mistake(path: str, value: Any, accepted: Sequence[Any], schema: Any) -> Mistake | None:
    """What is wrong with the value of one argument."""
    spelled = _type_of(accepted)
    kind, items = _declared(schema, spelled)
    if kind is float and type(value) is int:
        value = _as_float(value)
    offered = _offered(accepted)
    if type(value) is not kind and type(value) is not spelled:
        return Mistake(WRONG_TYPE, path=path, got=value, **offered)
    if isinstance(value, list) and items and not _items_fit(value, accepted, items):
        return Mistake(WRONG_TYPE, path=path, got=value, **offered)
    if spelled not in (None, kind):  # the answer is not of the declared type: taken as it stands
        return None if value in accepted else Mistake(WRONG_VALUE, path=path, got=value, **offered)
    if kind is dict:
        return _object_mistake(path, value, [a for a in accepted if a != LEFT_OUT])
    if isinstance(value, list) and items is dict:
        return _objects_mistake(path, value, accepted)
    return None if _accepted(value, accepted, kind) else _wrong(path, value, accepted)


def _declared(schema: Any, spelled: type | None) -> tuple[type | None, type | None]:
    """The type an argument is declared to have, and that of its items where it is a list."""
    if not isinstance(schema, Mapping):
        return spelled, None
    kind = _declared_type(schema)
    if kind is not list or not isinstance(schema.get("items"), Mapping):
        return kind, None
    return kind, _declared_type(schema["items"])


def _declared_type(schema: Mapping[str, Any]) -> type:
    """BFCL writes "any" where anything may stand, and takes it for a string."""
    declared = schema.get("type")
    return _TYPES.get(declared, str) if isinstance(declared, str) else str


def _type_of(accepted: Sequence[Any]) -> type | None:
    """The type of the first value an answer offers."""
    return next((type(value) for value in accepted if value != LEFT_OUT), None)


def _items_fit(value: list[Any], accepted: Sequence[Any], items: type) -> bool:
    """Whether all items have the declared type, or that of the first item of one answer."""
    return any(
        type(answer) is not list
        or all(type(item) is items or type(item) is _type_of(answer) for item in value)
        for answer in accepted
    )


def _accepted(value: Any, accepted: Sequence[Any], kind: type | None) -> bool:
    if kind is str:
        return _normal(value) in [_normal(answer) for answer in accepted if type(answer) is str]
    if kind is list:
        # An answer that may be left out may be empty as well.
        lists = [list(answer) for answer in accepted if isinstance(answer, list | str)]
        return _normal_items(value) in [_normal_items(answer) for answer in lists]
    return value in accepted


def _normal_items(values: list[Any]) -> list[Any]:
    return [_normal(value) for value in values]


def _normal(value: Any) -> Any:
    """A string as BFCL compares it; anything else as it is."""
    if type(value) is not str:
        return value
    return _IGNORED.sub("", value).lower().replace("'", '"')


def _objects_mistake(path: str, value: list[Any], accepted: Sequence[Any]) -> Mistake | None:
    """A list of objects is right when it is as long as one answer and fits it item by item."""
    found: Mistake | None = None
    for answer in accepted:
        if len(value) == len(answer):
            wrong = [
                mistake
                for i, (item, want) in enumerate(zip(value, answer, strict=True))
                if (mistake := _object_mistake(f"{path}[{i}]", item, [want]))
            ]
            if not wrong:
                return None
            found = found or wrong[0]
    return found or _wrong(path, value, accepted)


def _object_mistake(path: str, value: Any, accepted: Sequence[Any]) -> Mistake | None:
    """An object is right when it fits one answer. What is wrong by the first is what is said."""
    objects = [answer for answer in accepted if isinstance(answer, dict)]
    if not isinstance(value, dict) or not objects:
        return _wrong(path, value, accepted)
    found = [_against(path, value, answer) for answer in objects]
    return None if None in found else found[0]


def _against(path: str, value: dict[str, Any], answer: dict[str, Any]) -> Mistake | None:
    for key, inner in value.items():
        if key not in answer:
            return Mistake(EXTRA_ARGUMENT, path=f"{path}.{key}", got=inner)
        if _normal(inner) not in [_normal(option) for option in _options(answer[key])]:
            return _wrong(f"{path}.{key}", inner, _options(answer[key]))
    for key, options in answer.items():
        if key not in value and LEFT_OUT not in _options(options):
            return Mistake(MISSING_ARGUMENT, path=f"{path}.{key}", **_offered(_options(options)))
    return None


def _options(options: Any) -> Sequence[Any]:
    return options if isinstance(options, list | tuple) else [options]


def _wrong(path: str, value: Any, accepted: Sequence[Any]) -> Mistake:
    return Mistake(WRONG_VALUE, path=path, got=value, **_offered(accepted))


def _offered(accepted: Sequence[Any]) -> dict[str, Any]:
    """The accepted values for a Mistake."""
    values = [value for value in accepted if value != LEFT_OUT]
    if len(values) == 1:
        return {"expected": values[0]}
    return {"expected": values, "choice": True}


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:  # then no float is meant, and none is equal to it
        return value
