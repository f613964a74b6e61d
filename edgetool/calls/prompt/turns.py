"""Which tokens end an assistant's turn: one answer for training, decoding, grammars and files.

A tokenizer names one end, a generation_config several, and the chat template writes one that may be
neither: Phi-3.5 and Gemma 3 end a turn with another token than their tokenizers' eos.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetool.calls.types import JsonObject, Message, ToolCall
from edgetool.errors import ModelError

if TYPE_CHECKING:
    from edgetool.calls.syntaxes import CallSyntax

Named = int | Sequence[int] | None  # as generation_config.json names an eos_token_id

# The metadata of a GGUF file that names ends llama.cpp has no name for: "7,32007".
STOPS_KEY = "edgetool.stop_token_ids"

# llama.cpp ends a completion at tokens of these texts, whatever a file names: tried one by one with
# the library of llama-cpp-python 0.3.36, which has no list to ask for.
KNOWN_ENDS = (
    "</s>", "<EOT>", "<PAD>", "<REPO>", "<end_of_turn>", "<end_of_utterance>", "<eos>",
    "<fim-pad>", "<fim-repo>", "<fim_pad>", "<reponame>", "<turn|>", "<|call|>", "<|calls|>",
    "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|eom_id|>", "<|eot_id|>", "<|file_sep|>",
    "<|fim_pad|>", "<|fim_repo|>", "<|flush|>", "<|im_end|>", "<|repo_name|>", "<|return|>",
    "<|tool_response>", "[EOS]", "[EOT]", "[PAD]", "_<EOT>",
)  # fmt: skip

_SAID = "edgetool0"  # in the probes; Mistral's templates want ids of nine letters and digits
_QUESTION: Message = {"role": "user", "content": "?"}


@dataclass(frozen=True)
class TurnEnds:
    """The control markers a chat template writes behind an assistant's turn. None: it writes none.

    words   behind what the assistant says
    calls   behind its calls
    """

    words: str | None = None
    calls: str | None = None

    def of(self, *, calls: bool) -> list[str]:
        """What may end a turn that makes calls, or one that says something; the likelier first."""
        return [text for text in ((self.calls, self.words) if calls else (self.words,)) if text]


def turn_ends(
    render: Callable[[Sequence[Message]], str], markers: Iterable[str], syntax: CallSyntax
) -> TurnEnds:
    """What a chat template writes behind a turn, found out by rendering two short conversations.

    render    a finished conversation -> its text; a ModelError means that the template refuses it
    markers   the texts of all control tokens
    syntax    the one the template teaches, whatever a model is asked to write
    """
    known = sorted((m for m in markers if m.strip()), key=len, reverse=True)
    if not known:
        return TurnEnds()
    marker = re.compile("|".join(map(re.escape, known)))
    behind_words = _behind(render, {"content": _SAID}).lstrip()
    words = marker.match(behind_words)
    function: JsonObject = {"name": "f", "arguments": {"x": _SAID}}
    call = {"id": _SAID, "type": "function", "function": function}
    behind_calls = _behind(render, {"content": "", "tool_calls": [call]})
    own = syntax.render([ToolCall(**function)])
    calls = (found[0] for found in marker.finditer(behind_calls) if found[0] not in own)
    return TurnEnds(words[0] if words else None, next(calls, None))


def stops_from_text(text: str | None) -> tuple[int, ...]:
    """The value of STOPS_KEY; nothing where there is none or it is no list of ids."""
    parts = (text or "").split(",")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _behind(render: Callable[[Sequence[Message]], str], turn: Mapping[str, Any]) -> str:
    """The text behind the last place where the assistant's own words stand; "" for none."""
    try:
        text = render([_QUESTION, {"role": "assistant", **turn}])
    except ModelError:
        return ""
    return text.rpartition(_SAID)[2] if _SAID in text else ""


def known_ends(ids: Mapping[str, int]) -> tuple[int, ...]:
    """The tokens that llama.cpp ends a completion at by their text.

    ids   the id of each marker
    """
    return tuple(ids[text] for text in KNOWN_ENDS if text in ids)


def stop_ids(ends: TurnEnds, ids: Mapping[str, int], named: Iterable[Named]) -> tuple[int, ...]:
    """Every token that ends a turn: what the template writes, then those named, each once.

    ids     the id of each marker
    named   what tokenizer, generation_config and config call eos, in that order

    What stands behind calls may still be part of them, so it counts only where it is named, too.
    """
    known: list[int] = []
    for value in named:
        known += [value] if isinstance(value, int) else value or []
    words = [ids[text] for text in ends.of(calls=False) if text in ids]
    calls = [ids[text] for text in ends.of(calls=True) if text in ids and ids[text] in known]
    return tuple(dict.fromkeys([*words, *calls, *known]))
