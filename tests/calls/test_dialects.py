"""Types in anybody's spelling become JSON Schema."""

from __future__ import annotations

import pytest

from edgetool.calls.tools.dialects import bare, json_schema, parameters_schema, spellable
from edgetool.calls.tools.type_names import says_optional, type_schema


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("dict", {"type": "object"}),
        ("HashMap", {"type": "object"}),
        ("tuple", {"type": "array"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[Dict[str, Any]]", {"type": "array", "items": {"type": "object"}}),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}}),
        ("Optional[bool]", {"type": "boolean"}),
        ("Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Literal['asc', 'desc']", {"type": "string", "enum": ["asc", "desc"]}),
        ('Literal["a, b", "c|d"], optional', {"type": "string", "enum": ["a, b", "c|d"]}),
        ("Literal[1, 2]", {"type": "integer", "enum": [1, 2]}),
        ("Literal[1, 'x', None]", {"enum": [1, "x", None]}),
        ("Literal[low, high]", {"type": "string", "enum": ["low", "high"]}),
        ("Literal['optional', 'a<b']", {"type": "string", "enum": ["optional", "a<b"]}),
        ("Optional[str]", {"type": "string"}),
        ("Optional[str], optional", {"type": "string"}),
        ("typing.Optional[typing.List[int]]", {"type": "array", "items": {"type": "integer"}}),
        ("Union[str, None]", {"type": "string"}),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("Dict[str, Any]", {"type": "object"}),
        (
            "Dict[str, List[float]]",
            {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "number"}},
            },
        ),
        (
            "List[Tuple[float, float]]",
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ),
        ("Tuple[str, int]", {"type": "array"}),
        ("set", {"type": "array"}),
        ("Set[str], optional", {"type": "array", "items": {"type": "string"}}),
        (
            "list[int] | list[str]",
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "integer"}},
                    {"type": "array", "items": {"type": "string"}},
                ]
            },
        ),
        ("str (optional)", {"type": "string"}),
        ("string[]", {"type": "array", "items": {"type": "string"}}),
        ("ArrayList<Integer>", {"type": "array", "items": {"type": "integer"}}),
        ("list of integers", {"type": "array", "items": {"type": "integer"}}),
        ("STRING", {"type": "string"}),
        ("Callable[[float], float]", {}),
        ("List[" * 500 + "int" + "]" * 500, None),
        ("any", {}),
        ("Optional", {}),
        ("", {}),
    ],
)
def test_a_type_is_read(text, schema):
    read = type_schema(text)
    assert read == schema or (schema is None and read["type"] == "array")


@pytest.mark.parametrize(
    ("text", "optional"),
    [
        ("int, optional", True),
        ("int (Optional)", True),
        ("Optional[int]", True),
        ("int", False),
        ("Literal['optional', 'required']", False),
        ("List[Optional[int]]", False),
    ],
)
def test_a_type_says_whether_the_argument_may_be_left_out(text, optional):
    assert says_optional(text) is optional


def test_a_schema_that_is_one_already_stays_as_it_is_in_its_order():
    schema = {
        "description": "A",
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"enum": ["x"], "type": "string", "default": ""}},
        "additionalProperties": False,
    }
    assert list(json_schema(schema).items()) == list(schema.items())


def test_a_table_of_parameters_becomes_an_object():
    table = {
        "city": {"type": "str", "description": "City"},
        "days": {"type": "int", "default": 3},
        "unit": {"type": "str, optional"},
    }
    schema = parameters_schema(bare({"name": "f", "parameters": table}))
    assert schema["required"] == ["city"]
    assert schema["properties"]["days"] == {"type": "integer", "default": 3}


def test_required_beside_a_parameter_is_lifted_to_its_object():
    schema = json_schema(
        {"type": "dict", "properties": {"a": {"type": "str", "required": True}}, "required": None},
        lenient=True,
    )
    assert schema == {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def test_an_empty_default_beside_a_number_means_none():
    assert json_schema({"type": "int", "default": ""}, lenient=True) == {"type": "integer"}
    assert json_schema({"type": "str", "default": ""}, lenient=True) == {
        "type": "string",
        "default": "",
    }


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("Market Trends API", "Market_Trends_API"),
        ("a.b-c", "a.b-c"),
        (" x/y ", "x_y"),
        ("天气", "天气"),
    ],
)
def test_names_lose_only_what_no_syntax_can_write(name, spelled):
    assert spellable(name) == spelled


@pytest.mark.parametrize(
    ("schema", "mended"),
    [
        ({"type": "integer", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        (
            {"type": "boolean", "enum": ["True", "False", "dontcare"], "default": "dontcare"},
            {"type": "boolean", "enum": [True, False]},
        ),
        (
            {"type": "integer", "enum": ["1", "2"], "default": "2"},
            {"type": "integer", "enum": [1, 2], "default": 2},
        ),
        ({"type": "number", "enum": ["a few"]}, {"type": "number"}),
        (
            {"type": "array", "items": {"type": "string"}, "enum": ["co2", "noise"]},
            {"type": "array", "items": {"type": "string", "enum": ["co2", "noise"]}},
        ),
        # Nothing here is in nobody's reach, so nothing is changed.
        ({"type": "string", "enum": ["1"]}, {"type": "string", "enum": ["1"]}),
        ({"type": "integer", "enum": [1, "x"]}, {"type": "integer", "enum": [1, "x"]}),
        (
            {"type": ["integer", "string"], "enum": ["1"]},
            {"type": ["integer", "string"], "enum": ["1"]},
        ),
    ],
)
def test_choices_that_no_value_could_satisfy_are_read_as_their_type(schema, mended):
    assert json_schema(schema, lenient=True) == mended


@pytest.mark.parametrize(
    ("draft_7", "today"),
    [
        ({"items": [{"type": "int"}]}, {"prefixItems": [{"type": "integer"}]}),
        ({"items": [{}], "additionalItems": False}, {"prefixItems": [{}], "items": False}),
        ({"items": []}, {}),
        ({"items": {"type": "int"}}, {"items": {"type": "integer"}}),
    ],
)
def test_a_tuple_of_draft_7_is_read(draft_7, today):
    assert json_schema({"type": "array", **draft_7}) == {"type": "array", **today}


@pytest.mark.parametrize(
    ("draft_4", "today"),
    [
        ({"minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
        ({"minimum": 0, "exclusiveMinimum": False}, {"minimum": 0}),
        ({"maximum": 9, "exclusiveMaximum": True}, {"exclusiveMaximum": 9}),
        ({"exclusiveMaximum": True}, {}),
        ({"minimum": 0, "exclusiveMinimum": 1}, {"minimum": 0, "exclusiveMinimum": 1}),
    ],
)
def test_bounds_of_draft_4_are_read(draft_4, today):
    value = {"type": "object", "properties": {"exclusiveMinimum": {"type": "integer", **draft_4}}}
    properties = json_schema(value)["properties"]
    assert properties == {"exclusiveMinimum": {"type": "integer", **today}}


def test_a_users_own_choices_are_left_for_the_check_to_name():
    schema = {"type": "integer", "enum": ["1", "2"]}
    assert json_schema(schema) == schema
