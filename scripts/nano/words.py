"""Words and names for synthetic rows: enough variety that only copying pays."""

from __future__ import annotations

import random

from edgetool.data.words import pseudo_name, pseudo_word

__all__ = ["NOUNS", "PARAMETERS", "VERBS", "pseudo_name", "pseudo_phrase", "pseudo_word"]

VERBS = """
    get find book play add set send create show list update delete check order track rate start
    stop open close convert translate calculate schedule cancel search fetch buy sell reserve
    count compare plan measure record save load print share move copy rename call invite remind
""".split()
NOUNS = """
    weather flight hotel song playlist table movie book ticket taxi pizza message email alarm
    timer event note task contact photo video file route map price stock recipe meal news score
    game team order package invoice account card loan rate color shape area distance speed
    volume temperature device light door room car bus train plane museum park shop product
    review job course exam doctor medicine city country language word number date song artist
    album gift pet garden tree
""".split()
# name -> (what it means, JSON type)
PARAMETERS = {
    "city": ("name of the city", "string"),
    "country": ("name of the country", "string"),
    "name": ("full name", "string"),
    "title": ("title of it", "string"),
    "date": ("day when it happens", "string"),
    "time": ("time of day", "string"),
    "start": ("where it begins", "string"),
    "destination": ("where to go", "string"),
    "origin": ("where it starts from", "string"),
    "query": ("words to search for", "string"),
    "text": ("text to use", "string"),
    "message": ("what to say", "string"),
    "recipient": ("who gets it", "string"),
    "subject": ("what it is about", "string"),
    "color": ("color of it", "string"),
    "size": ("size of it", "string"),
    "brand": ("who makes it", "string"),
    "category": ("kind of thing", "string"),
    "language": ("language to use", "string"),
    "topic": ("topic of interest", "string"),
    "author": ("who wrote it", "string"),
    "artist": ("who performs", "string"),
    "genre": ("style of it", "string"),
    "street": ("name of the street", "string"),
    "label": ("label to give it", "string"),
    "code": ("code of it", "string"),
    "team": ("name of the team", "string"),
    "food": ("what to eat", "string"),
    "count": ("how many", "integer"),
    "people": ("number of people", "integer"),
    "days": ("number of days", "integer"),
    "year": ("which year", "integer"),
    "age": ("age in years", "integer"),
    "amount": ("amount of money", "number"),
    "price": ("price of it", "number"),
    "weight": ("weight in kilograms", "number"),
    "length": ("length in meters", "number"),
    "width": ("width in meters", "number"),
    "radius": ("radius of it", "number"),
    "score": ("score given", "integer"),
    "limit": ("most results to return", "integer"),
    "percent": ("share in percent", "number"),
}


def pseudo_phrase(rng: random.Random) -> str:
    """One to four pseudo words, capitalised or not, as a made-up name or title."""
    words = [pseudo_word(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 2, 3, 4)))]
    if rng.random() < 0.6:
        words = [word.capitalize() for word in words]
    return " ".join(words)
