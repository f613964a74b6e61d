"""Mixtures have the shares asked for; harder rows stay right."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.data.mix import Harder, Ingredient, harder_row, mix, pool_of
from edgetool.data.nearness import Pool
from edgetool.data.rows import load_rows, write_rows
from edgetool.errors import EdgetoolError, UsageError
from tests.conftest import user


def tool(name, description="", *parameters):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return Tool(name, description, {"type": "object", "properties": properties})


WEATHER = tool("get_weather", "Weather forecast for a city", "city")
FORECAST = tool("weather_history", "Past weather of a city", "city", "year")
MUSIC = tool("play_music", "Play a song", "song")
ALARM = tool("set_alarm", "Wake somebody up", "time")
TWIN = tool("weather_now", "Weather forecast for a city", "town")
POOL = Pool([WEATHER, FORECAST, MUSIC, ALARM, TWIN])


def row(id_="a", text="forecast for Oslo", tools=(WEATHER,), calls=("get_weather",)):
    return Example(id_, user(text), tuple(tools), tuple(ExpectedCall(name) for name in calls))


@pytest.fixture
def files(tmp_path):
    for name, count in (("a", 40), ("b", 100)):
        write_rows(tmp_path / f"{name}.jsonl", [row(f"{i}", f"{name} {i}") for i in range(count)])
    return tmp_path / "a.jsonl", tmp_path / "b.jsonl"


def mixed(files, *parts, **options):
    out = files[0].with_name("out.jsonl")
    ingredients = [Ingredient(path, part) for path, part in zip(files, parts, strict=True)]
    return mix(ingredients, out, **options), load_rows(out)


@pytest.mark.parametrize(
    ("parts", "options", "taken"),
    [
        ((None, None), {}, [40, 100]),
        ((1, 1), {}, [40, 40]),
        ((3, 1), {"rows": 40}, [30, 10]),
        ((1, 2), {"rows": 100}, [33, 67]),
        ((1, 4), {}, [25, 100]),
        ((5, 7), {"counts": True}, [5, 7]),
        ((None, 7), {"counts": True}, [40, 7]),
    ],
)
def test_files_give_the_rows_their_parts_say(files, parts, options, taken):
    numbers, rows = mixed(files, *parts, **options)
    assert numbers == taken
    assert Counter(row.id[0] for row in rows) == dict(zip("ab", taken, strict=True))
    assert len({row.id for row in rows}) == sum(taken)


def test_a_file_with_too_few_rows_is_refused(files):
    with pytest.raises(UsageError, match="has 40 rows, and 50 are asked of it"):
        mixed(files, 1, 1, rows=100)
    with pytest.raises(UsageError, match="weight above 0"):
        mixed(files, 0, 1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("e.jsonl", b"", "no rows in this file"),
        ("e.jsonl", b"\n \n", "no rows in this file"),
        ("e.jsonl.gz", gzip.compress(b"{}\n", mtime=0), "is packed with gzip, .* type `gunzip -k"),
        ("e.json", b"[{}]", "is a JSON array; rows are one object a line: type"),
        ("e.jsonl", "{}\n".encode("utf-16"), "is written in UTF-16"),
    ],
)
def test_a_file_that_holds_no_row_a_line_is_refused_as_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgetoolError, match=said):
        mix([Ingredient(tmp_path / name, 1.0)], tmp_path / "mixed.jsonl")
    assert not (tmp_path / "mixed.jsonl").exists()


def test_rows_are_shuffled_by_the_seed(files):
    order = [row.id for row in mixed(files, None, None)[1]]
    assert [row.id for row in mixed(files, None, None)[1]] == order
    assert [row.id for row in mixed(files, None, None, seed=1)[1]] != order
    assert order[:40] != sorted(order[:40])


def test_one_file_keeps_its_ids(files):
    _, rows = mixed(files[:1], None)
    assert {row.id for row in rows} == {str(i) for i in range(40)}


def test_near_tools_come_first_and_twins_never():
    assert [t.name for t in POOL.near(WEATHER, 9)] == ["weather_history", "play_music", "set_alarm"]
    assert POOL.twins(WEATHER) == {"get_weather", "weather_now"}
    assert [t.name for t in POOL.near(WEATHER, 1, {"weather_history"})] == ["play_music"]


def test_a_tool_from_elsewhere_can_be_compared():
    assert POOL.near(tool("song_player", "play songs", "song"), 1)[0].name == "play_music"


def test_distractors_are_added_and_the_call_stays():
    harder = harder_row(row(), Harder(distractors=2, pool=POOL), 0)
    assert {t.name for t in harder.tools} == {"get_weather", "weather_history", "play_music"}
    assert harder.calls == row().calls


def test_the_needed_tool_stands_in_every_place():
    harder = Harder(distractors=2, pool=POOL)
    places = {
        [t.name for t in harder_row(row(str(i)), harder, 0).tools].index("get_weather")
        for i in range(60)
    }
    assert places == {0, 1, 2}


def test_an_irrelevance_row_lacks_its_tool_and_everything_like_it():
    example = row(text="weather in Oslo", tools=(WEATHER, MUSIC, TWIN))
    harder = harder_row(example, Harder(irrelevance=1.0, pool=POOL), 0)
    assert harder.calls == () and harder.metadata["made"] == "irrelevance"
    # the history of weather shares a word with the request, and might be taken to fit it
    assert {t.name for t in harder.tools} == {"play_music", "set_alarm"}


def test_a_row_with_nothing_else_on_offer_keeps_its_tool():
    assert harder_row(row(), Harder(irrelevance=1.0), 0) == row()


def test_what_an_abstention_lacked_does_not_come_back_as_a_distractor():
    abstention = row(text="play a song", tools=(WEATHER,), calls=())
    harder = harder_row(abstention, Harder(distractors=4, pool=POOL), 0)
    assert "play_music" not in {t.name for t in harder.tools} and len(harder.tools) > 1


def test_the_share_of_irrelevance_is_the_one_asked_for():
    rows = [row(str(i), tools=(WEATHER, MUSIC)) for i in range(1000)]
    made = sum(not harder_row(r, Harder(irrelevance=0.3), 0).calls for r in rows)
    # 1000 draws at 0.3: standard deviation 14.5, four of them 58
    assert abs(made - 300) < 58


def test_a_pool_is_read_from_rows_and_from_lists_of_tools(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [row(tools=(WEATHER, MUSIC))])
    (tmp_path / "tools.json").write_text('[{"name": "ping"}, {"name": "play_music"}]')
    pool = pool_of([tmp_path / "rows.jsonl", tmp_path / "tools.json"])
    assert [t.name for t in pool.tools] == ["get_weather", "play_music", "ping"]
    assert pool.tools[1].description == "Play a song"
