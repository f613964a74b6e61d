"""Both readers of JSON read the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetool.data import json_text

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(params=["orjson", "json"])
def reader(request, monkeypatch):
    if request.param == "json":
        monkeypatch.setattr(json_text, "_quick", None)
    else:
        pytest.importorskip("orjson")
    return json_text.decode


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "NaN", "-Infinity", "1e999", '{"a": NaN}', "[1] 2", "'a'", "{'a': 1}"),
        "[" * 100000,
        '{"a":' * 70 + "1" + "}" * 70,
    ],
)
def test_what_no_row_may_hold_is_refused(reader, text):
    with pytest.raises(ValueError):
        reader(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9" * 30, int("9" * 30)),
        ("18446744073709551616", 2**64),
        ("-9223372036854775809", -(2**63) - 1),
        ('"\\ud800"', "\ud800"),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("1.0", 1.0),
        ("0.1e-5", 1e-6),
        ("[" + "[1]," * 100 + "2]", [[1]] * 100 + [2]),
    ],
)
def test_what_a_row_may_hold_is_read_exactly(reader, text, value):
    read = reader(text)
    assert read == value and type(read) is type(value)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_was_written_is_read(value):
    text = json.dumps(value)
    assert json_text.decode(text) == json_text._DECODER.decode(text) == value
