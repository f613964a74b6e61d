"""The words of names, and names that mean nothing."""

from __future__ import annotations

import random
import re

# The words of a name, also where capitals part them: maxResults.
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_ONSETS = [*"b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl sh st th tr".split(), ""]
_VOWELS = "a e i o u ai ea ou oo".split()
_CODAS = ["", "", "", *"l m n r s t k nd rt st ck ng".split()]


def pseudo_word(rng: random.Random, syllables: tuple[int, ...] = (1, 2, 2, 3)) -> str:
    """A pronounceable word that means nothing: 'brendoust'."""
    parts = range(rng.choice(syllables))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in parts)


def pseudo_name(rng: random.Random) -> str:
    """A tool or parameter name that gives nothing away: 'krest', 'mou_tai'."""
    return "_".join(pseudo_word(rng, (1, 1, 2)) for _ in range(rng.choice((1, 1, 1, 2))))
