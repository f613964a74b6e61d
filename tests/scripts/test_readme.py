"""README's tables of nano are what was measured, and nothing measured goes unmentioned."""

from __future__ import annotations

import pytest

from scripts import update_readme

CARD = update_readme.MEASURED.parent / "README.md"


def test_the_tables_are_what_was_measured():
    text = update_readme.README.read_text(encoding="utf-8")
    assert update_readme.filled(text) == text


@pytest.mark.parametrize("name", update_readme.TABLES)
def test_every_table_has_its_place(name):
    text = update_readme.README.read_text(encoding="utf-8")
    assert text.count(f"<!-- measured: {name} -->") == 1


def test_a_table_that_was_changed_by_hand_is_filled_again():
    text = "a\n<!-- measured: export -->\nby hand\n<!-- /measured -->\nb"
    filled = update_readme.filled(text)
    assert "by hand" not in filled and "| adapter |" in filled
    assert filled.startswith("a\n<!--") and filled.endswith("-->\nb")


def test_every_file_of_figures_is_named_where_people_read():
    said = update_readme.README.read_text(encoding="utf-8") + CARD.read_text(encoding="utf-8")
    files = [path for path in update_readme.MEASURED.rglob("*") if path.is_file()]
    unnamed = [p.name for p in files if str(p.relative_to(update_readme.MEASURED)) not in said]
    assert files and not unnamed
