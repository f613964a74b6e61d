"""Schemas of parameters as they are met, with calls that fit them and calls that do not."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    name: str
    parameters: dict[str, Any]
    good: list[dict[str, Any]]
    bad: list[dict[str, Any]]


CASES = [
    Case(
        "opt_enum",
        {
            "type": "object",
            "properties": {
                "unit": {
                    "anyOf": [{"type": "string", "enum": ["metric", "imperial"]}, {"type": "null"}],
                    "default": None,
                },
                "city": {"type": "string"},
            },
            "required": ["city"],
        },
        [
            {"city": "Bergen", "unit": "metric"},
            {"city": "Bergen", "unit": None},
            {"city": "Bergen"},
        ],
        [{"city": "Bergen", "unit": "kelvin"}],
    ),
    Case(
        "opt_enum_req",
        {
            "type": "object",
            "properties": {
                "unit": {
                    "anyOf": [{"type": "string", "enum": ["metric", "imperial"]}, {"type": "null"}]
                }
            },
            "required": ["unit"],
        },
        [{"unit": "metric"}, {"unit": None}],
        [{"unit": "kelvin"}],
    ),
    Case(
        "typeless",
        {
            "type": "object",
            "properties": {
                "op": {"enum": ["add", "remove"]},
                "path": {"type": "string"},
                "value": {"description": "anything"},
            },
            "required": ["op", "path"],
        },
        [
            {"op": "add", "path": "/a", "value": 3},
            {"op": "add", "path": "/a", "value": {"k": [1]}},
            {"op": "remove", "path": "/b"},
        ],
        [{"op": "swap", "path": "/a"}],
    ),
    Case(
        "not_anyof",
        {
            "type": "object",
            "properties": {
                "target": {
                    "anyOf": [{"not": {"type": "null"}, "type": "string"}, {"type": "integer"}]
                }
            },
            "required": ["target"],
        },
        [{"target": "note.md"}, {"target": 4}],
        [{"target": None}],
    ),
    Case(
        "ref_enum",
        {
            "type": "object",
            "properties": {"mood": {"$ref": "#/$defs/Mood"}},
            "required": ["mood"],
            "$defs": {"Mood": {"enum": ["CALM", "CROSS"]}},
        },
        [{"mood": "CALM"}],
        [{"mood": "ANGRY"}],
    ),
    Case(
        "allof_one_ref",
        {
            "type": "object",
            "properties": {
                "level": {
                    "allOf": [{"$ref": "#/$defs/Level"}],
                    "default": "low",
                    "description": "how loud",
                }
            },
            "required": ["level"],
            "$defs": {"Level": {"type": "string", "enum": ["low", "high"]}},
        },
        [{"level": "low"}],
        [{"level": "medium"}],
    ),
    Case(
        "allof_int_ref",
        {
            "type": "object",
            "properties": {"n": {"allOf": [{"$ref": "#/$defs/Count"}], "default": 1}},
            "required": ["n"],
            "$defs": {"Count": {"type": "integer", "enum": [1, 2, 4]}},
        },
        [{"n": 2}],
        [{"n": 3}, {"n": "2"}],
    ),
    Case(
        "allof_compose",
        {
            "type": "object",
            "properties": {
                "item": {
                    "allOf": [
                        {"$ref": "#/$defs/Base"},
                        {
                            "type": "object",
                            "properties": {"b": {"type": "integer"}},
                            "required": ["b"],
                        },
                    ]
                }
            },
            "required": ["item"],
            "$defs": {
                "Base": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}},
                    "required": ["a"],
                }
            },
        },
        [{"item": {"a": "x", "b": 1}}],
        [{"item": {"a": "x"}}, {"item": {"b": 1}}],
    ),
    Case(
        "allof_bounds",
        {
            "type": "object",
            "properties": {"n": {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 8}]}},
            "required": ["n"],
        },
        [{"n": 6}],
        [{"n": 4}, {"n": 9}],
    ),
    Case(
        "two_unions",
        {
            "type": "object",
            "properties": {
                "v": {
                    "anyOf": [{"type": "string"}, {"type": "integer"}],
                    "oneOf": [{"type": "integer"}, {"type": "boolean"}],
                }
            },
            "required": ["v"],
        },
        [{"v": 3}],
        [{"v": "x"}, {"v": True}],
    ),
    Case(
        "tree",
        {
            "type": "object",
            "properties": {"node": {"$ref": "#/$defs/Node"}},
            "required": ["node"],
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {
                        "label": {"type": "string"},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                    },
                    "required": ["label"],
                }
            },
        },
        [{"node": {"label": "a", "children": [{"label": "b"}]}}],
        [{"node": {"children": []}}],
    ),
    Case(
        "self_ref",
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/A"}},
            "required": [],
            "$defs": {"A": {"$ref": "#/$defs/A"}},
        },
        [{}],
        [],
    ),
    Case(
        "anyof_self",
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/A"}},
            "required": ["x"],
            "$defs": {"A": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/A"}]}},
        },
        [{"x": "s"}],
        [{"x": 3}],
    ),
    Case(
        "json_value",
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/J"}},
            "required": ["x"],
            "$defs": {
                "J": {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "number"},
                        {"type": "array", "items": {"$ref": "#/$defs/J"}},
                        {"type": "object", "additionalProperties": {"$ref": "#/$defs/J"}},
                    ]
                }
            },
        },
        [{"x": [1, "a", {"k": [2]}]}],
        [{"x": None}],
    ),
    Case(
        "type_list",
        {
            "type": "object",
            "properties": {
                "live": {"type": ["boolean", "null"]},
                "name": {"type": ["string", "null"]},
                "n": {"type": ["integer", "null"]},
            },
            "required": ["live", "name", "n"],
        },
        [{"live": False, "name": "x", "n": 3}, {"live": None, "name": None, "n": None}],
        [{"live": "false", "name": "x", "n": 3}, {"live": False, "name": 3, "n": 3}],
    ),
    Case(
        "type_list_enum",
        {
            "type": "object",
            "properties": {"k": {"type": ["string", "null"], "enum": ["a", "b", None]}},
            "required": ["k"],
        },
        [{"k": "a"}, {"k": None}],
        [{"k": "c"}],
    ),
    Case(
        "type_enum_clash",
        {
            "type": "object",
            "properties": {"k": {"type": "string", "enum": ["a", 1, None]}},
            "required": ["k"],
        },
        [{"k": "a"}],
        [{"k": 1}, {"k": None}],
    ),
    Case(
        "int_enum_text",
        {
            "type": "object",
            "properties": {"k": {"type": "integer", "enum": [1, 2, 3]}},
            "required": ["k"],
        },
        [{"k": 2}],
        [{"k": 4}],
    ),
    Case(
        "pat_unanchored",
        {
            "type": "object",
            "properties": {"q": {"type": "string", "pattern": "\\S"}},
            "required": ["q"],
        },
        [{"q": "a b"}],
        [{"q": "  "}],
    ),
    Case(
        "pat_word",
        {
            "type": "object",
            "properties": {"k": {"type": "string", "pattern": "^[\\w.]+\\W\\D$"}},
            "required": ["k"],
        },
        [{"k": "a_9.b-x"}],
        [{"k": "\u00e5-x"}, {"k": "a-9"}],
    ),
    Case(
        "pat_time",
        {
            "type": "object",
            "properties": {"at": {"type": "string", "pattern": "^([01]\\d|2[0-3]):[0-5]\\d$"}},
            "required": ["at"],
        },
        [{"at": "23:59"}],
        [{"at": "24:00"}, {"at": "23:5\uff18"}, {"at": "1\u0d67:21"}],
    ),
    Case(
        "pat_look",
        {
            "type": "object",
            "properties": {"pw": {"type": "string", "pattern": "^(?=.*\\d)[a-z0-9]{3,6}$"}},
            "required": ["pw"],
        },
        [{"pw": "abc1"}],
        [{"pw": "abcd"}],
    ),
    Case(
        "pat_maxlen",
        {
            "type": "object",
            "properties": {"k": {"type": "string", "pattern": "^a+$", "maxLength": 2}},
            "required": ["k"],
        },
        [{"k": "aa"}],
        [{"k": "aaa"}],
    ),
    Case(
        "fmt_maxlen",
        {
            "type": "object",
            "properties": {"d": {"type": "string", "format": "email", "maxLength": 12}},
            "required": ["d"],
        },
        [{"d": "ab@c.no"}],
        [{"d": "abcdefghijk@example.org"}],
    ),
    Case(
        "fmt_all",
        {
            "type": "object",
            "properties": {
                "d": {"type": "string", "format": "date"},
                "t": {"type": "string", "format": "date-time"},
                "u": {"type": "string", "format": "uri"},
                "i": {"type": "string", "format": "uuid"},
            },
            "required": ["d"],
        },
        [
            {
                "d": "2024-05-17",
                "t": "2024-05-17T10:00:00Z",
                "u": "https://e.org/a",
                "i": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            }
        ],
        [],
    ),
    Case(
        "fmt_unknown",
        {
            "type": "object",
            "properties": {
                "d": {"type": "string", "format": "directory-path"},
                "n": {"type": "integer", "format": "int64"},
            },
            "required": ["d", "n"],
        },
        [{"d": "/tmp", "n": 3}],
        [],
    ),
    Case(
        "patprops",
        {
            "type": "object",
            "properties": {},
            "patternProperties": {"^(yes|no)$": {"type": "string"}},
            "additionalProperties": False,
        },
        [{"yes": "a"}, {}],
        [{"maybe": "a"}],
    ),
    Case(
        "patprops_named",
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}},
            "required": ["id"],
            "patternProperties": {"^x-": {"type": "string"}},
            "additionalProperties": False,
        },
        [{"id": 1, "x-a": "b"}, {"id": 1}],
        [{"id": 1, "y": "b"}],
    ),
    Case("req_no_props", {"type": "object", "required": ["a"]}, [{"a": 1}], [{}]),
    Case(
        "nested_req_no_props",
        {
            "type": "object",
            "properties": {"o": {"type": "object", "required": ["a"]}},
            "required": ["o"],
        },
        [{"o": {"a": 1}}],
        [{"o": {}}],
    ),
    Case(
        "nested_req_other",
        {
            "type": "object",
            "properties": {
                "o": {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["a"]}
            },
            "required": ["o"],
        },
        [{"o": {"a": 1, "b": "x"}}],
        [{"o": {"b": "x"}}],
    ),
    Case(
        "enum_quotes",
        {
            "type": "object",
            "properties": {
                "k": {
                    "enum": ['a"b', "c\\d", "e\nf", "søvn 😀", "<|im_end|>", "</tool_call>", "it's"]
                }
            },
            "required": ["k"],
        },
        [
            {"k": 'a"b'},
            {"k": "c\\d"},
            {"k": "e\nf"},
            {"k": "søvn 😀"},
            {"k": "</tool_call>"},
            {"k": "it's"},
        ],
        [{"k": "x"}],
    ),
    Case(
        "const",
        {
            "type": "object",
            "properties": {
                "kind": {"const": "cat"},
                "n": {"const": 7},
                "z": {"const": None},
                "b": {"const": True},
            },
            "required": ["kind", "n", "z", "b"],
        },
        [{"kind": "cat", "n": 7, "z": None, "b": True}],
        [{"kind": "dog", "n": 7, "z": None, "b": True}],
    ),
    Case(
        "const_obj",
        {"type": "object", "properties": {"c": {"const": {"a": [1, "x"]}}}, "required": ["c"]},
        [{"c": {"a": [1, "x"]}}],
        [{"c": {"a": [1]}}],
    ),
    Case(
        "disc_union",
        {
            "type": "object",
            "properties": {
                "pet": {
                    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
                    "discriminator": {"propertyName": "kind"},
                }
            },
            "required": ["pet"],
            "$defs": {
                "Cat": {
                    "type": "object",
                    "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
                    "required": ["kind", "lives"],
                },
                "Dog": {
                    "type": "object",
                    "properties": {"kind": {"const": "dog"}, "breed": {"type": "string"}},
                    "required": ["kind", "breed"],
                },
            },
        },
        [{"pet": {"kind": "cat", "lives": 9}}, {"pet": {"kind": "dog", "breed": "pug"}}],
        [{"pet": {"kind": "cat", "breed": "pug"}}],
    ),
    Case(
        "arr_noitems",
        {"type": "object", "properties": {"xs": {"type": "array"}}, "required": ["xs"]},
        [{"xs": [1, "a", None]}, {"xs": []}],
        [],
    ),
    Case(
        "arr_items_empty",
        {
            "type": "object",
            "properties": {"xs": {"type": "array", "items": {}}},
            "required": ["xs"],
        },
        [{"xs": [1, "a", {"k": 1}]}],
        [],
    ),
    Case(
        "arr_items_false",
        {
            "type": "object",
            "properties": {"xs": {"type": "array", "items": False}},
            "required": ["xs"],
        },
        [{"xs": []}],
        [{"xs": [1]}],
    ),
    Case(
        "arr_prefix",
        {
            "type": "object",
            "properties": {
                "xy": {
                    "type": "array",
                    "prefixItems": [{"type": "number"}, {"type": "number"}],
                    "minItems": 2,
                    "maxItems": 2,
                }
            },
            "required": ["xy"],
        },
        [{"xy": [1.5, -2]}],
        [{"xy": [1]}, {"xy": [1, 2, 3]}],
    ),
    Case(
        "arr_prefix_more",
        {
            "type": "object",
            "properties": {
                "xy": {
                    "type": "array",
                    "prefixItems": [{"type": "string"}],
                    "items": {"type": "integer"},
                    "minItems": 3,
                }
            },
            "required": ["xy"],
        },
        [{"xy": ["a", 1, 2]}],
        [{"xy": ["a"]}, {"xy": ["a", "b", 1]}],
    ),
    Case(
        "arr_prefix_open",
        {
            "type": "object",
            "properties": {
                "xy": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}
            },
            "required": ["xy"],
        },
        [{"xy": ["a", 1]}, {"xy": []}, {"xy": ["a"]}],
        [{"xy": [1]}],
    ),
    Case(
        "arr_bounds",
        {
            "type": "object",
            "properties": {
                "xs": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}
            },
            "required": ["xs"],
        },
        [{"xs": [1, 2]}, {"xs": [1, 2, 3]}],
        [{"xs": [1]}, {"xs": [1, 2, 3, 4]}],
    ),
    Case(
        "arr_unique",
        {
            "type": "object",
            "properties": {
                "xs": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}
            },
            "required": ["xs"],
        },
        [{"xs": ["a", "b"]}],
        [{"xs": ["a", "a"]}],
    ),
    Case(
        "arr_contains",
        {
            "type": "object",
            "properties": {
                "xs": {"type": "array", "items": {"type": "integer"}, "contains": {"const": 1}}
            },
            "required": ["xs"],
        },
        [{"xs": [1, 2]}],
        [{"xs": [2]}],
    ),
    Case(
        "num_bounds",
        {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "minimum": -3, "maximum": 12},
                "b": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            },
            "required": ["a", "b"],
        },
        [{"a": -3, "b": 0.5}, {"a": 12, "b": 1}],
        [{"a": 13, "b": 0.5}, {"a": 1, "b": 0}],
    ),
    Case(
        "num_multiple",
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "multipleOf": 5}},
            "required": ["a"],
        },
        [{"a": 15}],
        [{"a": 7}],
    ),
    Case(
        "obj_map",
        {
            "type": "object",
            "properties": {"env": {"type": "object", "additionalProperties": {"type": "string"}}},
            "required": ["env"],
        },
        [{"env": {"A": "1", "b c": "2"}}, {"env": {}}],
        [{"env": {"A": 1}}],
    ),
    Case(
        "obj_map_props",
        {
            "type": "object",
            "properties": {
                "o": {
                    "type": "object",
                    "properties": {"id": {"type": "integer"}},
                    "required": ["id"],
                    "additionalProperties": {"type": "string"},
                }
            },
            "required": ["o"],
        },
        [{"o": {"id": 1, "x": "y"}}, {"o": {"id": 1}}],
        [{"o": {"id": 1, "x": 2}}],
    ),
    Case(
        "obj_free",
        {"type": "object", "properties": {"o": {"type": "object"}}, "required": ["o"]},
        [{"o": {"a": 1}}, {"o": {}}],
        [{"o": 3}],
    ),
    Case(
        "obj_minprops",
        {
            "type": "object",
            "properties": {
                "o": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[a-z]+$"},
                    "additionalProperties": {"type": "integer"},
                }
            },
            "required": ["o"],
        },
        [{"o": {"a": 1}}],
        [{"o": {}}, {"o": {"A": 1}}],
    ),
    Case(
        "top_minprops",
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": [],
            "minProperties": 1,
        },
        [{"a": 1}],
        [{}],
    ),
    Case(
        "top_anyof_req",
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
            "anyOf": [{"required": ["id"]}, {"required": ["name"]}],
        },
        [{"id": 1}, {"name": "x"}],
        [{}],
    ),
    Case(
        "top_oneof",
        {
            "type": "object",
            "oneOf": [
                {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            ],
        },
        [{"id": 1}, {"name": "x"}],
        [{}],
    ),
    Case(
        "top_addprops",
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": True,
        },
        [{"a": 1}, {"a": 1, "zz": "x"}],
        [{"zz": 1}],
    ),
    Case(
        "top_ref",
        {
            "type": "object",
            "$ref": "#/$defs/P",
            "$defs": {
                "P": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
            },
        },
        [{"a": 1}],
        [{}],
    ),
    Case(
        "top_allof",
        {
            "type": "object",
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
            ],
        },
        [{"a": 1, "b": "x"}],
        [{"a": 1}],
    ),
    Case(
        "if_then",
        {
            "type": "object",
            "properties": {"k": {"enum": ["a", "b"]}, "v": {"type": "integer"}},
            "required": ["k"],
            "if": {"properties": {"k": {"const": "a"}}},
            "then": {"required": ["v"]},
        },
        [{"k": "a", "v": 1}, {"k": "b"}],
        [{"k": "a"}],
    ),
    Case(
        "defs7",
        {
            "type": "object",
            "properties": {"p": {"$ref": "#/definitions/My Type"}},
            "required": ["p"],
            "definitions": {"My Type": {"type": "integer"}},
        },
        [{"p": 1}],
        [{"p": "x"}],
    ),
    Case(
        "ref_escaped",
        {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/a~1b"}, "q": {"$ref": "#/$defs/c%20d"}},
            "required": ["p"],
            "$defs": {"a/b": {"type": "integer"}, "c d": {"type": "boolean"}},
        },
        [{"p": 1, "q": True}],
        [{"p": "x"}],
    ),
    Case(
        "ref_prop",
        {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"type": "integer"}},
                "b": {"$ref": "#/properties/a"},
            },
            "required": ["a", "b"],
        },
        [{"a": [1], "b": [2]}],
        [{"a": [1], "b": ["x"]}],
    ),
    Case(
        "ref_sibling",
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/S", "maxLength": 2, "description": "d"}},
            "required": ["a"],
            "$defs": {"S": {"type": "string"}},
        },
        [{"a": "xy"}],
        [{"a": "xyz"}, {"a": 1}],
    ),
    Case(
        "ref_anchor",
        {
            "type": "object",
            "properties": {"a": {"$ref": "#thing"}},
            "required": ["a"],
            "$defs": {"t": {"$anchor": "thing", "type": "integer"}},
        },
        [{"a": 1}],
        [{"a": "x"}],
    ),
    Case(
        "nullable",
        {
            "type": "object",
            "properties": {"a": {"type": "string", "nullable": True}},
            "required": ["a"],
        },
        [{"a": "x"}],
        [],
    ),
    Case(
        "many_props",
        {
            "type": "object",
            "properties": {
                "p0": {"type": "integer"},
                "p1": {"type": "integer"},
                "p2": {"type": "integer"},
                "p3": {"type": "integer"},
                "p4": {"type": "integer"},
                "p5": {"type": "integer"},
                "p6": {"type": "integer"},
                "p7": {"type": "integer"},
            },
            "required": ["p3", "p7"],
        },
        [{"p3": 1, "p7": 2}, {"p7": 2, "p3": 1}, {"p7": 2, "p0": 5, "p3": 1}],
        [{"p3": 1}],
    ),
    Case(
        "order",
        {
            "type": "object",
            "properties": {"zeta": {"type": "string"}, "alpha": {"type": "string"}},
            "required": ["zeta", "alpha"],
        },
        [{"zeta": "1", "alpha": "2"}, {"alpha": "2", "zeta": "1"}],
        [],
    ),
    Case(
        "str_len",
        {
            "type": "object",
            "properties": {"a": {"type": "string", "minLength": 2, "maxLength": 4}},
            "required": ["a"],
        },
        [{"a": "abc"}, {"a": "søå"}],
        [{"a": "a"}, {"a": "abcde"}],
    ),
    Case(
        "opt_list",
        {
            "type": "object",
            "properties": {
                "tags": {
                    "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                    "default": None,
                }
            },
            "required": ["tags"],
        },
        [{"tags": ["a"]}, {"tags": None}],
        [{"tags": "a"}],
    ),
    Case(
        "str_or_list",
        {
            "type": "object",
            "properties": {
                "q": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
            },
            "required": ["q"],
        },
        [{"q": "a"}, {"q": ["a", "b"]}],
        [{"q": 3}],
    ),
    Case(
        "str_or_int",
        {
            "type": "object",
            "properties": {"q": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "required": ["q"],
        },
        [{"q": "a"}, {"q": 3}],
        [{"q": None}],
    ),
    Case(
        "opt_obj",
        {
            "type": "object",
            "properties": {
                "o": {
                    "type": ["object", "null"],
                    "properties": {"a": {"type": "integer"}},
                    "required": ["a"],
                }
            },
            "required": ["o"],
        },
        [{"o": {"a": 1}}, {"o": None}],
        [{"o": {}}],
    ),
    Case(
        "enum_null_only",
        {"type": "object", "properties": {"k": {"enum": [None]}}, "required": ["k"]},
        [{"k": None}],
        [{"k": "x"}],
    ),
    Case(
        "true_schema",
        {"type": "object", "properties": {"k": True}, "required": ["k"]},
        [{"k": 1}, {"k": "x"}],
        [],
    ),
    Case(
        "false_prop",
        {"type": "object", "properties": {"k": False, "a": {"type": "integer"}}, "required": ["a"]},
        [{"a": 1}],
        [{"a": 1, "k": 2}],
    ),
    Case(
        "empty_enum",
        {"type": "object", "properties": {"k": {"type": "string", "enum": []}}, "required": []},
        [{}],
        [],
    ),
    Case(
        "default_odd",
        {
            "type": "object",
            "properties": {
                "k": {"type": "integer", "default": "10"},
                "l": {"type": "string", "default": None},
            },
            "required": [],
        },
        [{"k": 1, "l": "x"}, {}],
        [{"k": "10"}],
    ),
    Case(
        "unc_enum_in_list",
        {
            "type": "object",
            "properties": {
                "xs": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
            },
            "required": ["xs"],
        },
        [{"xs": ["a", "b"]}],
        [{"xs": ["c"]}],
    ),
    Case(
        "obj_text",
        {
            "type": "object",
            "properties": {
                "o": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
            },
            "required": ["o"],
        },
        [{"o": {"q": "true"}}, {"o": {"q": 'it\'s "x" {y}'}}, {"o": {"q": "a, b: c"}}],
        [],
    ),
    Case(
        "deep",
        {
            "type": "object",
            "properties": {
                "a": {
                    "type": "object",
                    "properties": {
                        "b": {
                            "type": "object",
                            "properties": {
                                "c": {
                                    "type": "object",
                                    "properties": {"d": {"type": "integer"}},
                                    "required": ["d"],
                                }
                            },
                            "required": ["c"],
                        }
                    },
                    "required": ["b"],
                }
            },
            "required": ["a"],
        },
        [{"a": {"b": {"c": {"d": 1}}}}],
        [{"a": {"b": {"c": {}}}}],
    ),
    Case(
        "no_type_top",
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        [{"a": 1}],
        [{}],
    ),
    Case("empty", {}, [{}], [{"a": 1}]),
]
