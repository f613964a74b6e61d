"""Conversion: nothing is lost without a reason, and the same input gives the same bytes."""

from __future__ import annotations

import gzip
import json

import pytest

from edgetool.calls.tools.coerce import reading
from edgetool.data import convert as convert_module
from edgetool.data import importers
from edgetool.data.convert import Options, convert
from edgetool.data.rows import load_rows
from edgetool.data.sources import load_for_training
from edgetool.errors import DataError, UsageError
from tests.data.importers.records import RECORDS, XLAM_TOOL
from tests.data.importers.test_importers import SGD_SERVICE, sgd_dialogue, user


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def xlam(city="Oslo", days=2):
    call = {"name": "get_weather", "arguments": {"city": city, "days": days}}
    return {**RECORDS["xlam"], "answers": json.dumps([call])}


def run(source, tmp_path, **options):
    out, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    summary = convert(str(source), out, rejected, Options(**options))
    reasons = rejected.read_text().splitlines() if rejected.exists() else []
    return load_rows(out), [json.loads(line) for line in reasons], summary


def test_read_is_written_plus_rejected(tmp_path):
    # of each ten records one has a value of the wrong type and one is no JSON
    path = tmp_path / "many.jsonl"
    lines = [json.dumps(xlam(days="x" if i % 10 == 3 else i)) for i in range(2000)]
    lines = ["{" if i % 10 == 7 else line for i, line in enumerate(lines)]
    path.write_text("\n".join(lines))
    rows, rejected, summary = run(path, tmp_path)
    assert (summary.read, summary.written, summary.rejected) == (2000, 1600, 400)
    assert (len(rows), len(rejected)) == (1600, 400)
    assert rejected[0]["where"] == f"{path}:4"
    assert 'days "x" does not fit the schema of get_weather' in rejected[0]["reason"]
    assert "is not JSON" in rejected[1]["reason"]


def test_a_bad_turn_leaves_the_other_turns_of_its_conversation(tmp_path):
    record = json.loads(json.dumps(RECORDS["sharegpt"]))
    bad = {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": 3}}'}
    record["conversations"] += [{"from": "human", "value": "again"}, bad]
    rows, rejected, summary = run(write(tmp_path / "a.jsonl", [record]), tmp_path)
    assert (summary.read, len(rows), len(rejected)) == (2, 1, 1)
    assert rejected[0]["turn"] == 2 and rejected[0]["row"]["calls"]


def test_records_of_an_unexpected_shape_are_rejected_not_raised(tmp_path):
    odd = [
        {**RECORDS["sharegpt"], "conversations": [3]},
        {**RECORDS["sharegpt"], "conversations": "text"},
        {**RECORDS["sharegpt"], "tools": [3]},
        {"conversations": [], "tools": []},
        {"other": 1},
        [1, 2],
        None,
        "text",
    ]
    path = write(tmp_path / "odd.jsonl", [RECORDS["sharegpt"], *odd])
    rows, rejected, _ = run(path, tmp_path, importer="sharegpt")
    assert (len(rows), len(rejected)) == (1, len(odd))
    assert all(line["reason"] for line in rejected)


@pytest.mark.parametrize("importer", importers.known())
def test_no_importer_raises_on_what_is_not_its_own(tmp_path, importer, monkeypatch):
    monkeypatch.setattr("edgetool.data.chunks._companions", lambda *_: {})
    strange = [RECORDS[name] for name in RECORDS] + [{"a": [{"data": 3}]}, {"turns": 1}, {}, 0]
    chunk = convert_module.Chunk(importer, "x.jsonl", "x", list(enumerate(strange)))
    outcome = convert_module.convert_chunk(chunk)
    assert outcome.written + outcome.rejected >= len(strange)


def test_canonical_rows_come_out_byte_for_byte(tmp_path):
    path = write(tmp_path / "a.jsonl", [xlam(), RECORDS["xlam"]])
    run(path, tmp_path)
    once = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "again").mkdir()
    run(tmp_path / "out.jsonl", tmp_path / "again")
    assert (tmp_path / "again" / "out.jsonl").read_bytes() == once


def test_several_processes_write_the_same_bytes_as_one(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", [xlam(days=i if i % 7 else "x") for i in range(1500)])
    run(path, tmp_path)
    alone = (tmp_path / "out.jsonl").read_bytes(), (tmp_path / "rejected.jsonl").read_bytes()
    monkeypatch.setattr(convert_module, "_WORTH_PROCESSES", 0)
    run(path, tmp_path, jobs=2)
    assert (
        (tmp_path / "out.jsonl").read_bytes(),
        (tmp_path / "rejected.jsonl").read_bytes(),
    ) == alone


def test_arrays_lines_parquet_and_packed_files_hold_the_same_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    records = [xlam(days=i) for i in range(5)]
    (tmp_path / "array.json").write_text(json.dumps(records, indent=2))
    write(tmp_path / "lines.json", records)
    write(tmp_path / "lines.jsonl", records)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "table.parquet")
    names = ["array.json", "lines.json", "lines.jsonl", "packed.jsonl.gz", "table.parquet"]
    for name in names:
        rows, _, _ = run(tmp_path / name, tmp_path)
        assert [row.calls[0].arguments["days"] for row in rows] == [0, 1, 2, 3, 4], name
        assert rows[0].id == f"{name.split('.')[0]}-1"


def test_an_array_is_read_in_blocks_wherever_they_end(tmp_path, monkeypatch):
    records = [xlam(city="Å" * (i % 50), days=i) for i in range(60)]
    (tmp_path / "array.json").write_text(json.dumps(records, ensure_ascii=False))
    for block in (64, 777):
        monkeypatch.setattr("edgetool.data.records._BLOCK", block)
        rows, _, _ = run(tmp_path / "array.json", tmp_path)
        assert [row.calls[0].arguments["days"] for row in rows] == list(range(60))


def test_an_array_that_is_cut_short_is_an_error_and_nothing_is_written(tmp_path):
    (tmp_path / "array.json").write_text(json.dumps([xlam()] * 3)[:-40])
    with pytest.raises(DataError, match="element 3 is not JSON"):
        run(tmp_path / "array.json", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["array.json"]


def test_a_folder_is_read_whole_with_its_companions(tmp_path):
    folder = tmp_path / "sgd"
    (folder / "dev").mkdir(parents=True)
    (folder / "train").mkdir()
    for part in ("dev", "train"):
        (folder / part / "schema.json").write_text(json.dumps([SGD_SERVICE]))
        (folder / part / "dialogues_001.json").write_text(json.dumps([sgd_dialogue()] * 2))
    rows, _, summary = run(folder, tmp_path)
    assert [row.id for row in rows] == [
        "dev/dialogues_001-1",
        "dev/dialogues_001-2",
        "train/dialogues_001-1",
        "train/dialogues_001-2",
    ]
    assert summary.skipped == [] and rows[0].metadata["source"] == "sgd"


def test_files_of_a_folder_that_cannot_be_read_so_are_named(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write(folder / "a.jsonl", [xlam()])
    write(folder / "b.jsonl", [{"text": "no data set"}])
    write(folder / "BFCL_v4_multi_turn_base.json", [{"id": "multi_turn_base_0", "question": []}])
    rows, _, summary = run(folder, tmp_path)
    assert len(rows) == 1
    assert sorted(path.rsplit("/", 1)[1] for path, _ in summary.skipped) == [
        "BFCL_v4_multi_turn_base.json",
        "b.jsonl",
    ]


def test_a_file_that_nobody_knows_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="first record has the fields text; name its data set"):
        run(write(tmp_path / "a.jsonl", [{"text": "hello"}]), tmp_path)
    with pytest.raises(UsageError, match="is neither a file nor a folder"):
        run(tmp_path / "none" / "deep" / "er", tmp_path)


@pytest.mark.parametrize("first", ["{", "NaN", '{"x": NaN}', '{"_header": 1}', "[1]", "null"])
def test_a_first_line_that_says_nothing_does_not_hide_whose_rows_follow(tmp_path, first):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([first, json.dumps(xlam()), json.dumps(xlam())]))
    rows, rejected, summary = run(path, tmp_path)
    assert (len(rows), len(rejected)) == (2, 1)
    assert rejected[0]["where"] == f"{path}:1" and summary.by_importer == {"xlam": 2}


def test_a_file_without_a_line_of_json_says_so_with_its_first_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("# my rows\n- weather\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: line \"# my rows\" is not JSON"):
        run(path, tmp_path)


def own(id_, city="Oslo"):
    call = {"name": "get_weather", "arguments": {"city": city}}
    return {**RECORDS["edgetool"], "calls": [call], "id": id_}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([1, "1"], ["1", "1-2"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "a-2", "a"], ["a", "a-2", "a-3"]),
        (["rows-2", None], ["rows-2", "rows-2-2"]),  # the second would be named for its line
        (["é", "é"], ["é", "é-2"]),
    ],
)
def test_no_two_rows_that_convert_writes_have_one_id(tmp_path, given, written):
    rows, rejected, summary = run(write(tmp_path / "rows.jsonl", map(own, given)), tmp_path)
    assert [row.id for row in rows] == written and not rejected
    assert summary.renamed == 1 + (given == ["a", "a", "a"])


def test_ids_stay_apart_between_files_and_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(convert_module, "_CHUNK", 2)
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.jsonl", [xlam()] * 3)
    write(folder / "a.json", [xlam()] * 3)
    rows, _, summary = run(folder, tmp_path)
    assert len({row.id for row in rows}) == 6 and summary.renamed == 3


def test_what_an_earlier_conversion_wrote_into_the_folder_is_no_source(tmp_path):
    write(tmp_path / "a.jsonl", [xlam(), xlam(days="x")])
    for _ in range(2):
        rows, rejected, summary = run(tmp_path, tmp_path)
        assert (len(rows), len(rejected), summary.skipped) == (1, 1, [])


@pytest.mark.parametrize("key", ["messages", "conversations", "prompt"])
def test_conversations_without_tools_are_told_to_need_them(tmp_path, key):
    path = write(tmp_path / "a.jsonl", [{key: [user("hi")]}])
    with pytest.raises(UsageError, match=r"its records hold no tools.*fields (\w+); add the tools"):
        run(path, tmp_path)


IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "f"}}
CAPTION = {"type": "image", "text": "a cat", "image": None}
HELLO = {"type": "text", "text": "hello", "image_url": None}


@pytest.mark.parametrize("part", [IMAGE, SOUND, FILE, CAPTION, "text", {"type": "text"}])
@pytest.mark.parametrize("name", ["openai", "edgetool"])
def test_a_part_that_is_no_text_is_refused_and_not_dropped(tmp_path, part, name):
    bad = json.loads(json.dumps(RECORDS[name]))
    bad["messages"][0]["content"] = [HELLO, part]
    good = json.loads(json.dumps(RECORDS[name]))
    good["messages"][0]["content"] = [HELLO, HELLO]
    good["id"] = "good"
    rows, [reason], _ = run(write(tmp_path / "a.jsonl", [bad, good]), tmp_path)
    assert [row.utterance for row in rows] == ["hellohello"]
    assert "only text parts can be read" in reason["reason"]


@pytest.mark.parametrize("name", ["openai", "sharegpt"])
def test_a_row_with_a_picture_beside_its_text_is_refused(tmp_path, name):
    records = [{**RECORDS[name], "images": images} for images in ([], None, ["cat.png"])]
    rows, [reason], _ = run(write(tmp_path / "a.jsonl", records), tmp_path)
    assert len(rows) == 2 and 'images ["cat.png"] cannot be used' in reason["reason"]


@pytest.mark.parametrize("empty", ["", "  ", [], [{"type": "text", "text": ""}]])
def test_a_user_who_says_nothing_is_refused(tmp_path, empty):
    bad = json.loads(json.dumps(RECORDS["openai"]))
    bad["messages"][0]["content"] = empty
    rows, [reason], _ = run(write(tmp_path / "a.jsonl", [bad, RECORDS["openai"]]), tmp_path)
    assert len(rows) == 1 and "is empty; write what the user said" in reason["reason"]


@pytest.mark.parametrize(
    "source", ["data/rows.jsonl", "FOLDER/rows", "owner/rows.parquet", "./owner", "a/b/c"]
)
def test_a_mistyped_path_is_no_hub_id(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    with pytest.raises(UsageError, match="is neither a file nor a folder"):
        run(source, tmp_path)


def test_a_hub_that_cannot_be_reached_is_not_a_name_that_is_wrong(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fails(error):
        def load(*_, **__):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)

    fails(ConnectionError("Couldn't reach 'a/b' on the Hub (ConnectTimeout)\nmore"))
    with pytest.raises(DataError, match=r"cannot be reached \(Couldn't .*; check the network"):
        run("nobody/none", tmp_path)
    fails(ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"))
    with pytest.raises(DataError, match=r"HF_HUB_OFFLINE is set\); unset it"):
        run("nobody/none", tmp_path)
    fails(datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"))
    with pytest.raises(UsageError, match=r"no such data set.*check the spelling"):
        run("nobody/none", tmp_path)


def test_half_a_character_is_replaced_and_that_is_said(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(own("a")).replace("weather in", "\\ud83d weather in") + "\n")
    rows, rejected, summary = run(path, tmp_path)
    assert rows[0].utterance.startswith("? weather") and not rejected
    assert summary.left_out == {'halves of characters, each of which is now "?"': 1}


MESSAGE = 'messages[0] null must be a message such as {"role": "user", "content": "..."}'
TURN = 'conversations[0] null must be a turn such as {"from": "human", "value": "..."}'


@pytest.mark.parametrize(
    ("name", "key", "sentence"),
    [
        ("openai", "messages", MESSAGE),
        ("edgetool", "messages", MESSAGE),
        ("sharegpt", "conversations", TURN),
    ],
)
def test_a_message_that_is_null_says_what_a_message_is(tmp_path, name, key, sentence):
    bad = {**RECORDS[name], key: [None]}
    _, [reason], _ = run(write(tmp_path / "a.jsonl", [bad, RECORDS[name]]), tmp_path)
    assert reason["reason"] == sentence


def test_an_answer_that_is_no_text_is_refused_as_validate_would(tmp_path):
    messages = [user("hi"), {"role": "assistant", "content": {"text": "Hello."}}]
    bad = {**RECORDS["openai"], "messages": messages}
    _, [reason], _ = run(write(tmp_path / "a.jsonl", [bad, RECORDS["openai"]]), tmp_path)
    assert reason["reason"].startswith("completion {") and "must be text" in reason["reason"]


@pytest.mark.parametrize("catalogue", ["{", "[]", "{}", b"\xff\n"])
def test_a_companion_that_cannot_be_read_is_an_error_in_one_line(tmp_path, catalogue):
    record = {"query": "area", "calling": [{"api": "getArea", "parameters": {}}]}
    path = write(tmp_path / "rows.jsonl", [record])
    raw = catalogue if isinstance(catalogue, bytes) else catalogue.encode()
    (tmp_path / "tool.jsonl").write_bytes(raw)
    with pytest.raises(UsageError, match="that seal-tools's rows refer to cannot be read"):
        run(path, tmp_path)


def test_nothing_is_written_when_no_row_fits(tmp_path):
    path = write(tmp_path / "a.jsonl", [xlam(days="x")])
    complaint = (
        r"none of its 1 rows could be converted; nothing is written\n.*a.jsonl:1: calls\[0\]"
    )
    with pytest.raises(DataError, match=complaint):
        run(path, tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_limit_counts_records(tmp_path):
    rows, _, _ = run(write(tmp_path / "a.jsonl", [xlam()] * 9), tmp_path, limit=4)
    assert len(rows) == 4


def test_a_data_set_is_streamed_as_from_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.jsonl", [xlam(days=i) for i in range(3)])
    # `datasets` takes a folder where it takes an id; only the name's look differs
    monkeypatch.setattr("edgetool.data.records.is_hub_id", lambda source: True)
    rows, _, _ = run(folder, tmp_path)
    assert [row.calls[0].arguments["days"] for row in rows] == [0, 1, 2]


def test_nulls_that_arrow_adds_are_no_arguments(tmp_path):
    import pyarrow
    import pyarrow.parquet

    call = {"name": "get_weather", "arguments": {"city": "Oslo", "days": None}}
    record = {"query": "a", "tools": [XLAM_TOOL], "answers": [call]}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "a.parquet")
    rows, _, _ = run(tmp_path / "a.parquet", tmp_path)
    assert rows[0].calls[0].arguments == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        ("1", "integer", 1),
        (" 27.0 ", "integer", 27),
        (2.0, "integer", 2),
        ("1.5", "integer", "1.5"),
        ("1.5", "number", 1.5),
        ("3", "number", 3),
        ("1e3", "number", "1e3"),
        ("True", "boolean", True),
        ("yes", "boolean", "yes"),
        ("[1, 2]", "array", [1, 2]),
        ('{"a": 1}', "array", '{"a": 1}'),
        ("[", "array", "["),
        ("1", "string", "1"),
        (1, "string", "1"),
        ("9" * 40, "integer", "9" * 40),
    ],
)
def test_a_value_is_coerced_where_there_is_one_way_to(value, kind, read):
    result = reading(value, {"type": kind})
    assert result == read and type(result) is type(read)


def test_coercion_is_only_done_when_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", [xlam(), xlam(days="3")])
    assert len(run(path, tmp_path)[0]) == 1
    rows, _, _ = run(path, tmp_path, coerce=True)
    assert rows[1].calls[0].arguments["days"] == 3


def test_rows_for_evaluation_only_say_so_and_training_refuses_them(tmp_path):
    rows, _, _ = run(write(tmp_path / "a.jsonl", [RECORDS["when2call"]]), tmp_path)
    assert rows[0].metadata["evaluation_only"] is True
    with pytest.raises(DataError, match=r"1 of 1 rows are for evaluation only .*from when2call"):
        load_for_training(str(tmp_path / "out.jsonl"))


# read, written, skipped files of each shared data set; the rejected are the difference
SHARED = {
    "bfcl_v4": (3475, 3452, 1),
    "seal-tools": (1400, 1236, 0),
    "snips": (14484, 14422, 0),
    "toolrl": (946, 807, 0),
    "when2call": (300, 281, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_every_shared_data_set_converts_and_comes_out_again(shared, tmp_path, name):
    rows, rejected, summary = run(shared / "data" / name, tmp_path)
    assert (summary.read, len(rows), len(summary.skipped)) == SHARED[name]
    assert len(rejected) == summary.read - summary.written
    assert all(line["reason"] for line in rejected)
    before = (tmp_path / "out.jsonl").read_bytes()
    again = tmp_path / "again.jsonl"
    convert(str(tmp_path / "out.jsonl"), again, tmp_path / "none.jsonl", Options())
    assert again.read_bytes() == before
