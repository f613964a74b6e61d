#!/usr/bin/env python3
"""Write the demo's validation rows under other names.

    scripts/mask_demo_rows.py masked.jsonl                             # meaningless ones
    scripts/mask_demo_rows.py renamed.jsonl --names ordinary           # somebody else's
    edgetool eval model.gguf --data masked.jsonl

Descriptions stay (Hammer, arXiv:2410.04587): what is left to go by is what a tool says of itself.
Of the ordinary names none was seen by nano in its training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgetool.calls.types import Example
from edgetool.data import demo
from edgetool.data.mask import Renaming, mask_rows, rename_row
from edgetool.data.rows import write_rows

TOOLS = {
    "add_to_playlist": "save_song",
    "book_restaurant": "dinner_table",
    "find_screening": "cinema_program",
    "find_work": "catalog_query",
    "get_weather": "sky_report",
    "play_music": "audio_start",
    "rate_book": "book_stars",
}
PARAMETERS = {
    "album": "record",
    "artist": "performer",
    "best_rating": "maximum",
    "cinema": "theater",
    "city": "town",
    "condition": "outlook",
    "country": "nation",
    "cuisine": "cooking",
    "dish": "meal",
    "distance": "range",
    "facility": "amenity",
    "genre": "style",
    "guests": "company",
    "here": "current_place",
    "kind": "category",
    "landmark": "sight",
    "listing": "schedule",
    "movie": "film",
    "movie_type": "film_kind",
    "music_item": "sound_kind",
    "order": "sorting",
    "owner": "belongs_to",
    "party_size": "people",
    "place_type": "venue_kind",
    "playlist": "song_list",
    "quality": "standard",
    "rating": "score",
    "restaurant": "eatery",
    "series": "collection",
    "service": "application",
    "state": "province",
    "temperature": "heat",
    "time": "moment",
    "title": "heading",
    "track": "tune",
    "unit": "points_word",
    "which": "choice",
    "year": "date",
}
ORDINARY = {
    "ordinary": Renaming(TOOLS, PARAMETERS),
    "ordinary-tools": Renaming(tools=TOOLS),
    "ordinary-parameters": Renaming(parameters=PARAMETERS),
}


NAMES = ("meaningless", *ORDINARY)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", type=int, nargs="?")
    parser.add_argument("--names", choices=NAMES, default="meaningless")
    asked = parser.parse_args()
    write_rows(asked.out, rename(demo.examples("validation", asked.rows), asked.names))


def rename(rows: Iterable[Example], names: str) -> Iterator[Example]:
    """The same rows under other names, one of NAMES."""
    if names == "meaningless":
        return mask_rows(rows, rate=1.0, seed=0)
    return (rename_row(row, ORDINARY[names]) for row in rows)


if __name__ == "__main__":
    main()
