"""Bytes that are not UTF-8 are named where they stand; a byte order mark is no part of a line."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest

from edgetool.data import sources
from edgetool.data.check import Problem
from edgetool.data.convert import Options, convert
from edgetool.data.lines import read_document, text_of
from edgetool.data.mix import Ingredient, mix
from edgetool.data.rows import load_rows, row_of, write_rows
from edgetool.errors import DataError
from tests.data.importers.records import RECORDS


@pytest.fixture
def lines(examples):
    return [json.dumps(row_of(row)).encode() for row in examples]


def converted(path, tmp_path):
    out, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    convert(str(path), out, rejected, Options())
    reasons = rejected.read_text().splitlines() if rejected.exists() else []
    return load_rows(out), [json.loads(line) for line in reasons]


@pytest.mark.parametrize("joint", [b"\n", b"\r\n", b"\n" + codecs.BOM_UTF8])
def test_a_byte_order_mark_is_passed_over_at_the_start_and_where_files_were_joined(
    tmp_path, lines, examples, joint
):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + joint.join(lines))
    assert load_rows(path) == examples
    assert [row.id for row in converted(path, tmp_path)[0]] == ["one", "two", "none"]
    mix([Ingredient(path)], tmp_path / "mixed.jsonl")
    assert len(load_rows(tmp_path / "mixed.jsonl")) == 3


def test_a_line_in_latin_1_is_named_with_its_byte_and_the_others_go_on(tmp_path, lines, examples):
    path = tmp_path / "rows.jsonl"
    bad = lines[0].replace(b"Oslo please", "Malmö please".encode("latin-1"))
    path.write_bytes(b"\n".join([bad, *lines[1:]]))
    place = bad.index(b"\xf6") + 1
    rows, [reason] = converted(path, tmp_path)
    assert rows == examples[1:]
    assert reason["where"] == f"{path}:1" and f"byte {place} is 0xf6" in reason["reason"]
    with pytest.raises(
        DataError, match=f"rows.jsonl:1: line .* is not UTF-8: byte {place} is 0xf6"
    ):
        load_rows(path)


def test_a_byte_is_counted_from_the_line_s_start_with_its_mark():
    with pytest.raises(Problem, match="byte 5 is 0xff"):
        text_of(codecs.BOM_UTF8 + b"a\xff")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_file_in_another_unicode_encoding_says_how_to_save_it_again(
    tmp_path, lines, encoding, name
):
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines).decode().encode(encoding))
    for read in (load_rows, lambda path: converted(path, tmp_path)):
        with pytest.raises(DataError, match=r"is written in UTF-(16|32).*`iconv -f UTF-(16|32)"):
            read(path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_one_bad_element_of_an_array_leaves_the_others(tmp_path, lines, examples):
    path = tmp_path / "rows.json"
    bad = lines[0].replace(b"Oslo please", b"\xe9 please")
    path.write_bytes(b"[" + b",".join([bad, *lines[1:]]) + b"]")
    rows, [reason] = converted(path, tmp_path)
    assert rows == examples[1:] and reason["where"] == f"{path}:1" and "0xe9" in reason["reason"]


def test_one_bad_utterance_of_a_document_leaves_the_others(tmp_path):
    path = tmp_path / "lamp.json"
    said = [{"data": [{"text": f"turn {word} "}]} for word in ("on", "caf\udce9")]
    text = json.dumps({"SwitchLamp": said}, ensure_ascii=False)
    path.write_bytes(text.encode(errors="surrogateescape"))
    rows, [reason] = converted(path, tmp_path)
    assert [row.utterance for row in rows] == ["turn on"]
    assert "the byte 0xe9, which is not UTF-8" in reason["reason"]


def test_a_document_names_the_line_and_the_byte(tmp_path):
    (tmp_path / "tools.json").write_bytes(b'[\n{"name": "\xe9"}]')
    with pytest.raises(DataError, match=r"tools\.json:2: is not UTF-8: byte 11 is 0xe9"):
        read_document(tmp_path / "tools.json")
    (tmp_path / "tools.json").write_bytes(codecs.BOM_UTF8 + b"[]")
    assert read_document(tmp_path / "tools.json") == "[]"


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.json.gz"])
@pytest.mark.parametrize("damage", [lambda packed: packed[:-12], lambda packed: b"no gzip at all"])
def test_a_packed_file_that_is_broken_is_an_error_in_one_line(tmp_path, lines, name, damage):
    path = tmp_path / name
    path.write_bytes(damage(gzip.compress(b"\n".join(lines * 50))))
    with pytest.raises(DataError, match=f"{name}: cannot be unpacked"):
        converted(path, tmp_path)


def test_a_packed_file_whose_name_does_not_say_so_is_told_as_one(tmp_path, lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    with pytest.raises(DataError, match=f"is packed with gzip.*`mv {path} {path}.gz`"):
        load_rows(path)


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "rows.jsonl"
    for text in ("", "\n \n", "\ufeff\r\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="is empty; give a file with one JSON object a line"):
            converted(path, tmp_path)
        with pytest.raises(DataError, match="no rows in this file; write one JSON object a line"):
            load_rows(path)


def pretty(lines):
    return json.dumps(json.loads(lines[0]), indent=1).encode()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (lambda lines: b"[" + b",".join(lines) + b"]", "a JSON array"),
        (lambda lines: b"[\n" + b",\n".join(lines) + b"\n]\n", "a JSON array"),
        (pretty, "one JSON document on many lines"),
        (lambda lines: b"PAR1\x15\x04", "a parquet file"),
    ],
    ids=["array", "array on lines", "document", "parquet"],
)
@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_rows_in_another_form_say_how_to_convert_them(tmp_path, lines, text, what, name):
    path = tmp_path / name
    path.write_bytes(text(lines))
    with pytest.raises(DataError, match=f"{name}: is {what}; .*edgetool data convert {path}"):
        load_rows(path)
    if what != "a parquet file":
        assert converted(path, tmp_path)[0][0].id == "one"


def test_an_array_in_a_file_of_lines_is_converted_too(tmp_path, lines, examples):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + b"\n [" + b",\n".join(lines) + b"]")
    assert converted(path, tmp_path)[0] == examples


def test_a_broken_first_line_does_not_make_a_document_of_a_file_of_lines(tmp_path, lines, examples):
    path = tmp_path / "rows.json"
    path.write_bytes(b"{broken\n" + b"\n".join(lines))
    rows, reasons = converted(path, tmp_path)
    assert rows == examples and len(reasons) == 1


def test_rows_of_another_data_set_say_how_to_convert_them(tmp_path):
    path = tmp_path / "xlam.jsonl"
    path.write_text(json.dumps(RECORDS["xlam"]) + "\n")
    with pytest.raises(DataError, match="these look like rows of xlam: type `edgetool data conv"):
        sources.load(str(path), "train")


def test_what_was_written_can_be_read_back(tmp_path, examples):
    write_rows(tmp_path / "rows.jsonl", examples)
    assert converted(tmp_path / "rows.jsonl", tmp_path)[0] == examples
