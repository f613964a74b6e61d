"""A GGUF file's vocabulary as tokenizer.json, tokenizer_config.json and generation_config.json.

transformers' own reading of a GGUF tokenizer takes one pre-tokenizer for all: SmolLM's numbers are
cut otherwise. Here it is the one that `tokenizer.ggml.pre` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgetool.calls.prompt.turns import STOPS_KEY
from edgetool.errors import ModelError
from edgetool.gguf_base.pretokenizers import DIGIT, GPT2, find
from edgetool.gguf_base.reader import GgufHeader

# llama.h's llama_token_type
UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
SPACE = "\u2581"
ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
ENDS = ("eos", "eot", "eom")
# llama.cpp knows Phi-3 by its name: spaces behind all markers but these are swallowed.
PHI3_KEEPS = ("<unk>", "<s>", "<|endoftext|>")
Json = dict[str, Any]


def tokenizer_files(header: GgufHeader) -> dict[str, Json]:
    """The three files by name. Raises ModelError for a tokenizer that is not known here."""
    words = _Words.of(header)
    if words.model == "gpt2":
        steps = _byte_level(words)
    elif words.model == "llama":
        steps = _sentencepiece(words)
    else:
        raise ModelError(
            f"{header.path}: a tokenizer '{words.model}' is not read; known: gpt2 (byte-level "
            "BPE), llama (SentencePiece)"
        )
    special = words.special()
    if words.adds_bos and "bos" in special:
        steps["post_processor"] = _begins_with(words.tokens[special["bos"]], special["bos"])
    settings: Json = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings |= {f"{role}_token": words.tokens[number] for role, number in special.items()}
    if templates := _templates(header.fields):
        settings["chat_template"] = templates
    generation: Json = {f"{role}_token_id": number for role, number in special.items()}
    generation["eos_token_id"] = words.ends()
    return {
        "tokenizer.json": {"version": "1.0", "added_tokens": words.added(), **steps},
        "tokenizer_config.json": settings,
        "generation_config.json": generation,
    }


def _templates(fields: Mapping[str, Any]) -> Any:
    """The chat template, or where there are several each by its name."""
    own = fields.get("tokenizer.chat_template")
    prefix = "tokenizer.chat_template."
    more = {key.removeprefix(prefix): text for key, text in fields.items() if prefix in key}
    if not more:
        return own
    named = {"default": own, **more} if own else more
    return [{"name": name, "template": text} for name, text in named.items()]


class _Words:
    """The lists of a vocabulary, checked against each other.

    tokens, types   [V], and scores [V] of a SentencePiece vocabulary
    """

    def __init__(self, header: GgufHeader, tokens: list[str], types: list[int]) -> None:
        self.fields, self.path = header.fields, header.path
        self.model, self.tokens, self.types = self._key("model"), tokens, types
        self.ids = {text: number for number, text in enumerate(tokens)}

    @classmethod
    def of(cls, header: GgufHeader) -> _Words:
        tokens = header.fields.get("tokenizer.ggml.tokens")
        types = header.fields.get("tokenizer.ggml.token_type")
        if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
            raise ModelError(f"{header.path}: the file holds no tokenizer")
        types = [1] * len(tokens) if types is None else types
        words = cls(header, tokens, types)
        if len(words.listed("token_type", types)) != len(words.ids):
            raise ModelError(f"{header.path}: two tokens have the same text")
        return words

    def _key(self, key: str) -> Any:
        return self.fields.get(f"tokenizer.ggml.{key}")

    def listed(self, key: str, found: Any = None) -> list[Any]:
        """A list with an entry for each token."""
        found = self._key(key) if found is None else found
        if not isinstance(found, list) or len(found) != len(self.tokens):
            raise ModelError(f"{self.path}: tokenizer.ggml.{key} does not fit its tokens")
        return found

    def merges(self) -> list[list[str]]:
        pairs = [merge.split(" ", 1) for merge in self._key("merges") or () if " " in merge[1:]]
        known = self.ids.keys()
        for left, right in pairs:
            if left not in known or right not in known or left + right not in known:
                raise ModelError(f"{self.path}: it merges {left!r} and {right!r} into no token")
        return pairs

    def _number(self, key: str) -> int | None:
        number = self._key(f"{key}_token_id")
        return number if type(number) is int and 0 <= number < len(self.tokens) else None

    def special(self) -> dict[str, int]:
        found = {role: self._number(key) for role, key in ROLES.items()}
        return {role: number for role, number in found.items() if number is not None}

    def ends(self) -> list[int]:
        """What the file calls an end, eos first; llama.cpp's own list is in calls/prompt/turns."""
        more = str(self.fields.get(STOPS_KEY, "")).split(",")
        named = [self._number(role) for role in ENDS] + [int(n) for n in more if n.isdecimal()]
        return list(dict.fromkeys(n for n in named if n is not None and n < len(self.tokens)))

    @property
    def adds_bos(self) -> bool:
        """What llama.cpp takes for granted where the key is missing."""
        usual = self.model == "llama" or bool((find(str(self.pre)) or ((), False))[1])
        return bool(self.fields.get("tokenizer.ggml.add_bos_token", usual))

    @property
    def pre(self) -> Any:
        return self._key("pre")

    def added(self) -> list[Json]:
        """The markers, which are looked for before a text is cut."""
        name = str(self.fields.get("general.name", "")).lower()
        phi3 = "phi-3" in name or "phi3" in name
        return [
            {
                "id": number, "content": text, "special": kind != USER_DEFINED,
                "normalized": False, "single_word": False, "lstrip": False,
                "rstrip": phi3 and text not in PHI3_KEEPS,
            }
            for number, (text, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]  # fmt: skip


def _begins_with(text: str, number: int) -> Json:
    first, rest = {"id": text, "type_id": 0}, {"id": "A", "type_id": 0}
    single = [{"SpecialToken": first}, {"Sequence": rest}]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]}},
    }


def _byte_level(words: _Words) -> Json:
    if (rule := find(str(words.pre))) is None:
        raise ModelError(
            f"{words.path}: its pre-tokenizer '{words.pre}' is not known here, so texts would be "
            "cut otherwise than llama.cpp cuts them; train on the model's own folder"
        )
    regexes, ignore_merges = rule
    whole = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    # GPT-2's own step is many times faster than its regular expression.
    own = regexes[-1] == GPT2
    steps = [*map(_step, regexes[:-1] if own else regexes), {**whole, "use_regex": own}]
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "decoder": {**whole, "use_regex": True},
        "model": {**_bpe(words.ids, words.merges()), "ignore_merges": ignore_merges},
    }


def _step(regex: str) -> Json:
    if regex == DIGIT:
        return {"type": "Digits", "individual_digits": True}
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _sentencepiece(words: _Words) -> Json:
    special = {UNKNOWN, CONTROL, USER_DEFINED, BYTE}
    kinds = zip(words.tokens, words.types, strict=True)
    pieces = [text for text, kind in kinds if kind not in special]
    prefix = words.fields.get("tokenizer.ggml.add_space_prefix", True)
    steps: list[Json] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    back: list[Json] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    model = _bpe(words.ids, list(_merges(pieces, words.listed("scores"), words.ids)))
    unknown = words.special().get("unk")
    model |= {"fuse_unk": True, "byte_fallback": BYTE in words.types}
    model["unk_token"] = None if unknown is None else words.tokens[unknown]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": model,
    }


def _merges(
    pieces: Sequence[str], scores: Sequence[float], ids: Mapping[str, int]
) -> Iterator[list[str]]:
    """Every way to put a piece together from two others, the highest score first."""
    known = set(pieces)
    for piece in sorted(pieces, key=lambda text: -scores[ids[text]]):
        halves = [[piece[:at], piece[at:]] for at in range(1, len(piece))]
        fitting = [pair for pair in halves if known.issuperset(pair)]
        yield from sorted(fitting, key=lambda pair: (ids[pair[0]], ids[pair[1]]))


def _bpe(ids: Mapping[str, int], merges: Sequence[Sequence[str]]) -> Json:
    return {"type": "BPE", "vocab": dict(ids), "merges": list(merges)}
