"""The tables people read are what was measured, and nothing measured goes unmentioned."""

from __future__ import annotations

import re

import pytest

from scripts import update_readme
from scripts.smollm2 import tables as smollm2


@pytest.fixture(scope="module")
def pages():
    return [page.read_text(encoding="utf-8") for page in update_readme.PAGES]


def test_the_tables_are_what_was_measured(pages):
    assert [update_readme.filled(text) for text in pages] == pages


@pytest.mark.parametrize("name", update_readme.TABLES)
def test_every_table_has_its_place(pages, name):
    assert "".join(pages).count(f"<!-- measured: {name} -->") == 1


def test_a_table_that_was_changed_by_hand_is_filled_again():
    text = "a\n<!-- measured: export -->\nby hand\n<!-- /measured -->\nb"
    filled = update_readme.filled(text)
    assert "by hand" not in filled and "| adapter |" in filled
    assert filled.startswith("a\n<!--") and filled.endswith("-->\nb")


@pytest.mark.parametrize("folder", [update_readme.MEASURED, smollm2.MEASURED])
def test_every_file_of_figures_is_named_where_people_read(pages, folder):
    card = folder.parent / "README.md"
    said = "".join([*pages, card.read_text(encoding="utf-8")])
    files = [path for path in folder.rglob("*") if path.is_file()]
    unnamed = [path.name for path in files if str(path.relative_to(folder)) not in said]
    assert files and not unnamed


def test_the_readme_stays_short(pages):
    assert len(pages[0].splitlines()) <= 150


def test_every_link_leads_somewhere():
    pages = [update_readme.README, *update_readme.FIGURES.parent.glob("*.md")]
    lost = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert len(pages) > 2 and not lost
