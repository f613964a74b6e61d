"""Calls that a BFCL row's answer accepts, and ways to spoil them or to spell them otherwise."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

Call = dict[str, dict[str, Any]]  # {name: arguments}, as BFCL's checker takes it
Row = dict[str, Any]  # {"functions", "answers", ...}

ODD_VALUES = (None, True, 0, -1, 1.5, "", "other", [], [1], {}, {"a": 1})


def accepted_calls(answers: list[dict[str, Any]], rng: random.Random) -> list[Call]:
    """A call for every answer, each value drawn from those the answer offers."""
    return [
        {name: _drawn_arguments(offered, rng) for name, offered in answer.items()}
        for answer in answers
    ]


def _drawn_arguments(offered: dict[str, list[Any]], rng: random.Random) -> dict[str, Any]:
    arguments = {}
    for name, values in offered.items():
        spelled = [value for value in values if value != ""]
        if spelled and ("" not in values or rng.random() < 0.7):
            arguments[name] = _drawn(rng.choice(spelled), rng)
    return arguments


def _drawn(value: Any, rng: random.Random) -> Any:
    """Inside an object an answer offers several values for each key."""
    if isinstance(value, dict):
        return _drawn_arguments(
            {k: v if isinstance(v, list) else [v] for k, v in value.items()}, rng
        )
    return [_drawn(inner, rng) for inner in value] if isinstance(value, list) else value


def mutate(kind: str, row: Row, calls: list[Call], rng: random.Random) -> list[Call] | None:
    """`calls` with one change of this kind; None where there is nothing to change so."""
    calls = copy.deepcopy(calls)
    return calls if MUTATIONS[kind](row, calls, rng) else None


Mutation = Callable[[Row, list[Call], random.Random], bool]


def _arguments(calls: list[Call], rng: random.Random) -> dict[str, Any]:
    return next(iter(rng.choice(calls).values())) if calls else {}


def _at_value(change: Callable[[Any, random.Random], Any], *types: type) -> Mutation:
    """A mutation that replaces one argument's value, of one of these types where any are given."""

    def mutation(row: Row, calls: list[Call], rng: random.Random) -> bool:
        places = [
            (arguments, name)
            for call in calls
            for arguments in call.values()
            for name, value in arguments.items()
            if not types or isinstance(value, types)
        ]
        if not places:
            return False
        arguments, name = rng.choice(places)
        arguments[name] = change(arguments[name], rng)
        return True

    return mutation


def other_value(value: Any, rng: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice((1, -1, 10))
    if isinstance(value, str):
        return rng.choice((value + " x", "x" + value, value[1:], value + "s"))
    if isinstance(value, list):
        return rng.choice(([*value, *value[:1]], value[:-1], [*value, 7]))
    return value


def respelled(value: Any, rng: random.Random) -> Any:
    """The same text with other punctuation, spacing, quotes or case; lists and objects inside."""
    if isinstance(value, list):
        return [respelled(inner, rng) for inner in value]
    if isinstance(value, dict):
        return {key: respelled(inner, rng) for key, inner in value.items()}
    if not isinstance(value, str):
        return value
    ways: list[Callable[[str], str]] = [
        str.upper,
        str.lower,
        str.title,
        lambda text: text.replace(" ", ""),
        lambda text: text.replace(",", ""),
        lambda text: text.replace("-", "_").replace("'", '"'),
        lambda text: f"{text}.",
        lambda text: f" {text}\t",
        lambda text: text.replace(" ", ";"),
    ]
    return rng.choice(ways)(value)


def other_type(value: Any, rng: random.Random) -> Any:
    """About the same value as another type."""
    ways: list[Any] = [str(value), [value], {"value": value}, None]
    if isinstance(value, bool):
        ways += [int(value), str(value).lower()]
    elif isinstance(value, int):
        ways += [float(value), float(value), value > 0, str(value)]
    elif isinstance(value, float):
        ways += [int(value), int(value)]
    elif isinstance(value, list):
        ways += [value[0] if value else "", ", ".join(map(str, value)), dict(enumerate(value))]
    elif isinstance(value, str):
        ways += [list(value), len(value), False]
    return rng.choice([way for way in ways if type(way) is not type(value)])


def nested(value: Any, rng: random.Random) -> Any:
    """A change inside a list or an object."""
    if isinstance(value, dict) and value:
        return _nested_object(dict(value), rng)
    if isinstance(value, list) and value:
        items, place = list(value), rng.randrange(len(value))
        match rng.randrange(5):
            case 0:
                items[place] = other_type(items[place], rng)
            case 1:
                items[place] = other_value(items[place], rng)
            case 2:
                items[place] = respelled(items[place], rng)
            case 3:
                rng.shuffle(items)
            case _:
                items[place] = nested(items[place], rng)
        return items
    return value


def _nested_object(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(value))
    match rng.randrange(6):
        case 0:
            del value[key]
        case 1:
            value["one_more"] = rng.choice(ODD_VALUES)
        case 2:
            value[key] = other_value(value[key], rng)
        case 3:
            value[key] = other_type(value[key], rng)
        case 4:
            value[key] = respelled(value[key], rng)
        case _:
            value[key] = nested(value[key], rng)
    return value


def _odd(value: Any, rng: random.Random) -> Any:
    return rng.choice(ODD_VALUES)


def _name(row: Row, calls: list[Call], rng: random.Random) -> bool:
    if not calls:
        return False
    call = rng.choice(calls)
    [(name, arguments)] = call.items()
    others = [f["name"] for f in row["functions"] if f["name"] != name]
    call.clear()
    call[rng.choice([*others, name + "_", name.replace(".", "_") + "2", name.upper()])] = arguments
    return True


def _drop_argument(row: Row, calls: list[Call], rng: random.Random) -> bool:
    arguments = _arguments(calls, rng)
    if arguments:
        del arguments[rng.choice(list(arguments))]
        return True
    return False


def _drop_call(row: Row, calls: list[Call], rng: random.Random) -> bool:
    if calls:
        calls.pop(rng.randrange(len(calls)))
        return True
    return False


def _add_argument(row: Row, calls: list[Call], rng: random.Random) -> bool:
    if not calls:
        return False
    [(name, arguments)] = rng.choice(calls).items()
    known = [f["parameters"]["properties"] for f in row["functions"] if f["name"] == name]
    unset = [p for properties in known for p in properties if p not in arguments]
    arguments[rng.choice([*unset, "made_up"])] = rng.choice(ODD_VALUES)
    return True


def _add_call(row: Row, calls: list[Call], rng: random.Random) -> bool:
    extra = copy.deepcopy(rng.choice(calls)) if calls else {row["functions"][0]["name"]: {}}
    calls.insert(rng.randint(0, len(calls)), extra)
    return True


def _swap_call(row: Row, calls: list[Call], rng: random.Random) -> bool:
    """One call said twice, another not at all."""
    if len(calls) < 2:
        return False
    first, second = rng.sample(range(len(calls)), 2)
    calls[first] = copy.deepcopy(calls[second])
    return True


def _reorder(row: Row, calls: list[Call], rng: random.Random) -> bool:
    rng.shuffle(calls)
    for call in calls:
        for name, arguments in call.items():
            items = list(arguments.items())
            rng.shuffle(items)
            call[name] = dict(items)
    return True


def _none(row: Row, calls: list[Call], rng: random.Random) -> bool:
    return True


MUTATIONS: dict[str, Mutation] = {
    "none": _none,
    "value": _at_value(other_value),
    "spelling": _at_value(respelled, str, list, dict),
    "type": _at_value(other_type),
    "odd": _at_value(_odd),
    "nest": _at_value(nested, list, dict),
    "name": _name,
    "drop argument": _drop_argument,
    "drop call": _drop_call,
    "add argument": _add_argument,
    "add call": _add_call,
    "swap call": _swap_call,
    "reorder": _reorder,
}
