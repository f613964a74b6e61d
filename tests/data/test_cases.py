"""Small files that went wrong once, and what is right; skipped without the shared folder."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edgetool.calls import syntaxes
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.cli import app
from edgetool.data.rows import load_rows


def typed(*words):
    return CliRunner().invoke(app, [*map(str, words)])


# case/file -> the arguments of each row's calls, and how many are rejected
CONVERTED = {
    "arrow_nulls/arrow_trl": ([{"city": "Bergen"}, {"minutes": 5}], 0),
    "hermes_python_dict/hermes_dict": ([{"city": "Bergen"}], 0),
    "hermes_python_dict/hermes_dict_quote": ([{"city": "L'Aquila"}], 0),
    "hermes_python_dict/hermes_json": ([{"city": "Bergen"}], 0),
    "toolace_words/toolace_words": (
        [
            {"from": "USD", "to": "NOK", "amount": 10},
            {"user-id": 3},
            {"to": "it's, (ok) [x]", "amount": -1.5, "from": "USD"},
        ],
        0,
    ),
    "first_line/nan": ([{"city": "A"}, {"city": "A"}], 2),
    "first_line/bom": ([{"city": "A"}, {"city": "A"}], 0),
    "same_ids/rows": ([{"city": "A"}, {"city": "A"}], 0),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_a_case_converts_to_rows_that_validate(shared, tmp_path, case):
    out, rejected = tmp_path / "r.jsonl", tmp_path / "rejected.jsonl"
    said = typed("data", "convert", shared / "cases" / f"{case}.jsonl", "--out", out)
    assert said.exit_code == 0, said.output
    arguments, refused = CONVERTED[case]
    rows = load_rows(out)
    assert [call.arguments for row in rows for call in row.calls] == arguments
    assert not any(message["role"] == "system" for row in rows for message in row.messages)
    reasons = rejected.read_text().splitlines() if rejected.exists() else []
    assert len(reasons) == refused and all(json.loads(line)["reason"] for line in reasons)
    assert typed("data", "validate", out).exit_code == 0


def test_a_picture_and_a_user_without_words_are_refused(shared, tmp_path):
    case = shared / "cases" / "image_part" / "rows.jsonl"
    said = typed("data", "convert", case, "--out", tmp_path / "r.jsonl")
    assert "only text parts can be read" in str(said.exception)
    assert "is empty; write what the user said" in str(said.exception)
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize(
    ("case", "rows"), [("arrow_nulls/arrow_canonical", "1 row"), ("first_line/bom", "2 rows")]
)
def test_a_case_validates_as_it_is(shared, case, rows):
    said = typed("data", "validate", shared / "cases" / f"{case}.jsonl")
    assert said.exit_code == 0 and f"{rows}, all good" in said.output


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("null_keywords/go_nil", "2 tools, 0 findings"),
        ("null_keywords/desc_null", "1 tool, 2 findings"),
        ("tool_files/smolagents", "1 tool, 0 findings"),
        ("tool_files/gemini", "1 tool, 0 findings"),
        ("tool_files/mcp_rpc", "calendar.list: parameters.day: missing description"),
        ("tool_files/builtin", "is 'web_search_preview', a tool built into its provider's API"),
    ],
)
def test_a_list_of_tools_is_read_or_told_as_what_it_is(shared, case, said):
    result = typed("tools", "lint", shared / "cases" / f"{case}.json")
    assert said in result.output + str(result.exception)


@pytest.mark.parametrize("syntax", syntaxes.names())
@pytest.mark.parametrize(
    "case",
    [
        "format_annotation/tools.json",
        "oneof_unique/tools.json",
        "top_composition/tools.json",
        "own_python_tools/rt.py",
    ],
)
def test_tools_once_refused_have_a_grammar_in_every_syntax(shared, case, syntax):
    result = typed("tools", "lint", shared / "cases" / case, "--syntax", syntax)
    assert result.exit_code == 0 and ", 0 findings" in result.output


def test_rows_of_composed_parameters_become_rows_that_validate(shared, tmp_path):
    out = tmp_path / "r.jsonl"
    rows = shared / "cases" / "top_composition" / "rows.jsonl"
    assert typed("data", "convert", rows, "--out", out).exit_code == 0
    assert typed("data", "validate", out).exit_code == 0
    assert all("artist" in row.calls[0].arguments for row in load_rows(out))


def test_a_completion_for_a_tool_whose_reference_names_nothing_is_read(shared):
    case = shared / "cases" / "parse_raises"
    said = (case / "completion.txt").read_text().strip()
    tools = load_rows(case / "dangling.jsonl")[0].tools
    assert syntaxes.get("qwen3_coder").parse(said, tools).calls[0].arguments == {"a": "x"}


def test_a_template_for_training_renders_what_it_marks(shared):
    template = (shared / "cases" / "generation_tag" / "chat_template.jinja").read_text()
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]
    assert "Hello" in "".join(render_prompt(template, said, [], []))
