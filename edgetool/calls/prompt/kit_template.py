"""edgetool's own chat templates: the turns of a family of models, tools in the hermes syntax.

A family is what models have whose turns stand between the same markers. Each has its file of turns
in `templates`; behind `hermes.jinja`, which writes tools, calls and results, it is a template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgetool.calls.prompt import template as templates
from edgetool.calls.prompt.thinking import switch_of
from edgetool.errors import ModelError

TEMPLATES = Path(__file__).parent / "templates"
MAX_SYSTEM = 4000  # characters of a default system message that are kept


@dataclass(frozen=True)
class Family:
    """Models whose turns have the same markers.

    end    the text of the token that ends a turn; None: the tokenizer's eos token
    bos    a prompt begins with the tokenizer's bos token, where the model's own does not say
    """

    shown: str
    end: str | None
    bos: bool = False


FAMILIES = {
    "chatml": Family("ChatML", "<|im_end|>"),
    "gemma": Family("Gemma", "<end_of_turn>", bos=True),
    "llama2": Family("Llama 2", None, bos=True),
    "llama3": Family("Llama 3", "<|eot_id|>", bos=True),
    "mistral": Family("Mistral", None, bos=True),
    "phi3": Family("Phi-3", "<|end|>"),
    "phi4": Family("Phi-4", "<|im_end|>"),
    "phi4_mini": Family("Phi-4-mini", "<|end|>"),
    "zephyr": Family("Zephyr", None),
}


# Mistral's models differ in the blanks around a turn.
MARKS = {
    "mistral": {
        "user_open": "[INST] ",
        "user_close": " [/INST]",
        "said_open": "",
        "said_close": "",
    }
}

USER: dict[str, Any] = {"role": "user", "content": "«user»"}
SYSTEM: dict[str, Any] = {"role": "system", "content": "«system»"}
SAID: dict[str, Any] = {"role": "assistant", "content": "«assistant»"}
TOKENS = {"bos_token": "«bos»", "eos_token": "«eos»"}


def family_of(template: str) -> str | None:
    """The family whose turns a template writes, to the letter; None for others, and broken ones."""
    family = marked_family(template)
    if family is None:
        return None
    ours, theirs = (_turns(text) for text in (continued(template, family), template))
    return family if ours == theirs else None


def _turns(template: str) -> str | None:
    """What a template writes from the first words of a user to where the model goes on."""
    text = rendered(template, [USER, SAID, USER], **_thinking(template, True)) or ""
    return text.partition(USER["content"])[2] or None


def marked_family(template: str) -> str | None:
    """The family whose markers a template writes around turns."""
    text = rendered(template, [USER, SAID, USER]) or rendered(template, [USER]) or ""
    for name, fits in _MARKS:
        if fits(text, template):
            return name
    return None


# Looked for in what a template writes, which is more than its text: '<|' + message.role + '|>'.
_MARKS: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    ("phi4", lambda text, _: "<|im_sep|>" in text),
    ("chatml", lambda text, _: "<|im_start|>" in text and "<|im_end|>" in text),
    ("gemma", lambda text, _: "<start_of_turn>" in text),
    ("llama3", lambda text, _: "<|start_header_id|>" in text),
    ("llama2", lambda text, template: "[INST]" in text and "<<SYS>>" in template),
    ("mistral", lambda text, _: "[INST]" in text),
    ("phi3", lambda text, _: "<|user|>\n" in text and "<|end|>" in text),
    ("phi4_mini", lambda text, _: "<|user|>" in text and "<|end|>" in text),
    ("zephyr", lambda text, _: "<|user|>\n" in text and "<|assistant|>" in text),
)


@dataclass(frozen=True)
class Frame:
    """What one model's template has besides its family's turns.

    bos       it writes the tokenizer's bos token first
    system    the system message of a conversation without one
    switch    the variable that turns thinking off
    silent    the system message where it is off, and what stands before the model's words
    marks     texts around turns, where models of the family have several
    """

    bos: bool
    system: str = ""
    switch: str | None = None
    silent: tuple[str, str] = ("", "")
    marks: tuple[tuple[str, str], ...] = ()


def kit_template(family: str, frame: Frame | None = None) -> str:
    """edgetool's own template of a family, in Jinja; `frame` None: as most of its models have."""
    return _written(family, frame or Frame(FAMILIES[family].bos))


@lru_cache(maxsize=64)
def _written(family: str, frame: Frame) -> str:
    texts = {"default_system": frame.system, **MARKS.get(family, {}), **dict(frame.marks)}
    head = "".join(f"{{%- set {name} = '{_quoted(text)}' -%}}\n" for name, text in texts.items())
    start, end = "{{- bos_token -}}\n" if frame.bos else "", ""
    if frame.switch:
        off = f"{frame.switch} is defined and not {frame.switch}"
        system, opening = map(_quoted, frame.silent)
        head += f"{{%- if {off} -%}}{{%- set default_system = '{system}' -%}}{{%- endif -%}}\n"
        end = (
            f"{{%- if add_generation_prompt and {off} -%}}{{{{- '{opening}' -}}}}{{%- endif -%}}\n"
        )
    return head + _read("hermes") + start + _read(family) + end


def _read(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    return escaped.replace("'", "\\'")


def continued(own: str, family: str) -> str:
    """The family's template with what else the model's own has, see `Frame`."""
    bos = (rendered(own, [USER]) or "").startswith(TOKENS["bos_token"])
    marks = tuple(_marks(own).items()) if family in MARKS else ()
    silent, thinking = (rendered(own, [USER], **_thinking(own, on)) for on in (False, True))
    switch = switch_of(own) if silent != thinking else None
    opening = _silent_opening(silent or "", thinking or "")
    bare = Frame(bos, switch=switch, silent=("", opening), marks=marks)
    if "strftime_now" in own:
        return kit_template(family, bare)
    system, silent = (_default_system(own, family, bare, on) for on in (True, False))
    return kit_template(family, replace(bare, system=system, silent=(silent, opening)))


def _default_system(own: str, family: str, bare: Frame, thinking: bool) -> str:
    """The system message of a conversation without one; "" where it cannot be told."""
    switch = _thinking(own, thinking)
    written = rendered(own, [USER], **switch) or ""
    framed = rendered(kit_template(family, bare), [SYSTEM, USER], **switch) or ""
    before, _, after = framed.partition(str(SYSTEM["content"]))
    system = written[len(before) : len(written) - len(after)]
    whole = written.startswith(before) and written.endswith(after)
    return system if whole and len(system) < MAX_SYSTEM else ""


def _silent_opening(silent: str, thinking: str) -> str:
    """What stands before the model's words only where thinking is off: an empty thought."""
    off, on = (text.partition(USER["content"])[2] for text in (silent, thinking))
    return off.removeprefix(on) if off.startswith(on) else ""


def _thinking(own: str, on: bool) -> dict[str, Any]:
    switch = switch_of(own)
    return {} if switch is None else {switch: on}


def _marks(own: str) -> dict[str, str]:
    """The texts a template without generation prompt writes around turns, as MARKS has them."""
    text = (rendered(own, [USER, SAID, USER]) or "").removeprefix(TOKENS["bos_token"])
    opening, first, rest = text.partition(USER["content"])
    turned, second, closing = rest.partition(USER["content"])
    asked, said, answered = turned.partition(f"{SAID['content']}{TOKENS['eos_token']}")
    if not (first and second and said and asked.startswith(closing) and answered.endswith(opening)):
        return {}
    return {
        "user_open": opening,
        "user_close": closing,
        "said_open": asked.removeprefix(closing),
        "said_close": answered.removesuffix(opening),
    }


def rendered(template: str, turns: list[dict[str, Any]], **more: Any) -> str | None:
    """A conversation without tools, up to where the model goes on; None when it is refused."""
    try:
        return templates.render(template, variables(turns, None) | more)
    except ModelError:
        return None


def variables(turns: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What a template is tried out with."""
    asked = {"messages": turns, "tools": tools, "documents": None, "add_generation_prompt": True}
    return {**asked, **TOKENS}
