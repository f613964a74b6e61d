"""Calls written as Python would: read, never run."""

from __future__ import annotations

import pytest

from edgetool.data.check import Problem
from edgetool.data.importers.python_calls import is_calls, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[f()]", [("f", {})]),
        ("[f(x=1, y='a')]", [("f", {"x": 1, "y": "a"})]),
        (
            "[Market Trends API(trend='UP', n=-2.5)]",
            [("Market Trends API", {"trend": "UP", "n": -2.5})],
        ),
        ("[a(x=1), b.c(y=[1, {'k': True}])]", [("a", {"x": 1}), ("b.c", {"y": [1, {"k": True}]})]),
        ("[f(x=true, y=null, z=False)]", [("f", {"x": True, "y": None, "z": False})]),
        ("[f(x='a), b(', y=\"it's\")]", [("f", {"x": "a), b(", "y": "it's"})]),
        ("[f(x=(1, 2))]", [("f", {"x": [1, 2]})]),
        ("[f(x=((1, 2), (3,)), y=(4))]", [("f", {"x": [[1, 2], [3]], "y": 4})]),
        ("[f(from='a', class=1, in=[2])]", [("f", {"from": "a", "class": 1, "in": [2]})]),
        ("[f(user-id=3, q.term='x')]", [("f", {"user-id": 3, "q.term": "x"})]),
        (
            '[f(to="it\'s, (ok) [x]", **{"from": "U"})]',
            [("f", {"to": "it's, (ok) [x]", "from": "U"})],
        ),
        ("[f(x='''a 'b' c''', y='a' 'b')]", [("f", {"x": "a 'b' c", "y": "ab"})]),
    ],
)
def test_calls_are_read(text, expected):
    assert [(call["name"], call["arguments"]) for call in parse("x", text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[f(]",
        "[f(x=1) trailing]",
        "[f(1)]",
        "[f(**x)]",
        "[f(x=__import__('os'))]",
        "[f(x=open('a'))]",
        "[f(x=1j)]",
        "[f(x=b'a')]",
        "[f(x='unclosed)]",
        "[f(x=" + "(" * 5000 + ")]",
        "[f(x=lambda: 1)]",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(Problem):
        parse("x", text)


def test_prose_is_not_taken_for_calls():
    assert is_calls("[f(x=1)]") and not is_calls("[1] see (above)") and not is_calls("Sure (yes).")
