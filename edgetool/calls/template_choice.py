"""Which chat template a model's prompts are made with: its own, if that shows the model its tools.

Most chat models' templates have no place for tools: a prompt reads the same with seven of them and
with none. Then edgetool's own template takes their place: the turns are the model's, in the markers
it was trained on, and tools, calls and results are written in the hermes syntax.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgetool.calls import template as templates
from edgetool.calls.types import Tool
from edgetool.errors import ModelError, UsageError

OWN = "own"  # the model's own template and no other
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


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template in use.

    text   Jinja
    name   `own`, one of FAMILIES, or the file it was read from
    note   a line that says what took the place of the model's own template, and why; None: nothing
    """

    text: str
    name: str = OWN
    note: str | None = None

    @property
    def replaced(self) -> bool:
        return self.name != OWN


PROBE = Tool(
    "edgetool_probe",
    "Probe",
    {
        "type": "object",
        "properties": {"edgetool_argument": {"type": "string", "description": "Probe"}},
        "required": ["edgetool_argument"],
    },
)
_NEEDED = {
    PROBE.name: "a tool's name is not in the prompt",
    "edgetool_argument": "a tool's arguments are not in the prompt",
}
_USER: dict[str, Any] = {"role": "user", "content": "«user»"}
_SYSTEM: dict[str, Any] = {"role": "system", "content": "«system»"}
_SAID: dict[str, Any] = {"role": "assistant", "content": "«assistant»"}
_TOKENS = {"bos_token": "«bos»", "eos_token": "«eos»"}


def why_tools_are_hidden(template: str) -> str | None:
    """What keeps a chat template from showing a tool to the model; None when nothing does.

    It is tried out: a tool is offered, and its name and argument have to be in the prompt, whether
    the conversation has a system message or not.
    """
    return _hidden(template)[0]


def choose(
    own: str | None,
    wanted: str | None = None,
    *,
    where: object,
    markers: Collection[str] = (),
    tools: bool = True,
) -> ChatTemplate:
    """The template to make prompts with.

    own       the model's, None when it has none
    wanted    None: `own` if it shows tools, else edgetool's for its turns; `own`; a name of
              FAMILIES; or a file with a template in Jinja
    where     the model, for messages
    markers   the texts of its control tokens, to advise by
    tools     prompts will have tools; without them the model's own template serves

    Raises ModelError for a template that is broken, and where no template shows tools; UsageError
    for a `wanted` that nobody knows.
    """
    if wanted not in (None, OWN):
        return _named(wanted, own, where)
    if not own or not own.strip():
        raise ModelError(_nothing_there(where, markers))
    why, broken = _hidden(own)
    if broken:
        raise ModelError(f"{where}: its chat template is broken ({why}); {way_out()}")
    if why is None or not tools:
        return ChatTemplate(own)
    family = family_of(own)
    if wanted == OWN or family is None:
        raise ModelError(_refusal(own, where, why, family))
    note = (
        f"{where}: its chat template shows the model no tools ({why}); edgetool's own "
        f"{FAMILIES[family].shown} template with the hermes call syntax takes its place "
        f"(--template own refuses instead)"
    )
    return ChatTemplate(_continued(own, family), family, note)


def select(named: Mapping[str, str] | str | None) -> str | None:
    """Of a model's templates the one for tools, as transformers and llama.cpp take it.

    Raises ModelError when there are several and none is called `tool_use` or `default`.
    """
    if named is None or isinstance(named, str):
        return named
    if (found := named.get("tool_use") or named.get("default")) is None and named:
        raise ModelError(
            f"the model has the chat templates {', '.join(sorted(named))}, and none of them is "
            "called tool_use or default; name the file of one with --template"
        )
    return found


def family_of(template: str) -> str | None:
    """The family whose turns a template writes, to the letter; None for others, and broken ones."""
    family = _marked(template)
    if family is None:
        return None
    ours, theirs = (_turns(text) for text in (_continued(template, family), template))
    return family if ours == theirs else None


def _turns(template: str) -> str | None:
    """What a template writes from the first words of a user to where the model goes on."""
    return (_rendered(template, [_USER, _SAID, _USER]) or "").partition(_USER["content"])[2] or None


def _marked(template: str) -> str | None:
    """The family whose markers a template writes around turns."""
    text = _rendered(template, [_USER, _SAID, _USER]) or _rendered(template, [_USER]) or ""
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


@lru_cache(maxsize=64)
def kit_template(
    family: str, *, bos: bool, system: str = "", marks: tuple[tuple[str, str], ...] = ()
) -> str:
    """edgetool's own template of a family, in Jinja.

    bos      it writes the tokenizer's bos token first
    system   the system message of a conversation without one
    marks    texts around turns, where models of the family have several
    """
    texts = {"default_system": system, **(MARKS.get(family, {})), **dict(marks)}
    default = "".join(f"{{%- set {name} = '{_quoted(text)}' -%}}\n" for name, text in texts.items())
    start = "{{- bos_token -}}\n" if bos else ""
    return default + _read("hermes") + start + _read(family)


def _read(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    return escaped.replace("'", "\\'")


def _continued(own: str, family: str) -> str:
    """The family's template with what else the model's own has: bos, a default system message."""
    written = _rendered(own, [_USER]) or ""
    bos = written.startswith(_TOKENS["bos_token"])
    marks = tuple(_marks(own).items()) if family in MARKS else ()
    plain = kit_template(family, bos=bos, marks=marks)
    framed = (_rendered(plain, [_SYSTEM, _USER]) or "").split(str(_SYSTEM["content"]))
    if "strftime_now" in own or len(framed) != 2:
        return plain
    before, after = framed
    system = written[len(before) : len(written) - len(after)]
    if len(system) >= MAX_SYSTEM:
        return plain
    candidate = kit_template(family, bos=bos, system=system, marks=marks)
    return candidate if _rendered(candidate, [_USER]) == written else plain


def _marks(own: str) -> dict[str, str]:
    """The texts a template without generation prompt writes around turns, as MARKS has them."""
    text = (_rendered(own, [_USER, _SAID, _USER]) or "").removeprefix(_TOKENS["bos_token"])
    opening, first, rest = text.partition(_USER["content"])
    turned, second, closing = rest.partition(_USER["content"])
    asked, said, answered = turned.partition(f"{_SAID['content']}{_TOKENS['eos_token']}")
    if not (first and second and said and asked.startswith(closing) and answered.endswith(opening)):
        return {}
    return {
        "user_open": opening,
        "user_close": closing,
        "said_open": asked.removeprefix(closing),
        "said_close": answered.removesuffix(opening),
    }


def _named(wanted: str, own: str | None, where: object) -> ChatTemplate:
    """A template that was asked for by name or file."""
    if wanted in FAMILIES:
        return _kit(_of_family(wanted, own), wanted, where)
    file = Path(wanted).expanduser()
    if not file.is_file():
        raise UsageError(
            f"--template {wanted}: no such file, and not one of {OWN}, {', '.join(FAMILIES)}"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--template {wanted}: no text in UTF-8; name a Jinja file") from error
    if text == own:
        return ChatTemplate(text)
    if (why := why_tools_are_hidden(text)) is not None:
        raise ModelError(f"--template {wanted}: it shows the model no tools ({why})")
    for family in FAMILIES:  # a run keeps the template it was trained with
        if text == _of_family(family, own):
            return _kit(text, family, where)
    return ChatTemplate(text, str(file), f"{where}: the chat template {file} is used")


def _of_family(family: str, own: str | None) -> str:
    """A family's template, with what else the model's own has where that is of the family."""
    if own and _marked(own) == family:
        return _continued(own, family)
    return kit_template(family, bos=FAMILIES[family].bos)


def _kit(text: str, family: str, where: object) -> ChatTemplate:
    template = f"{FAMILIES[family].shown} template with the hermes call syntax"
    return ChatTemplate(text, family, f"{where}: edgetool's own {template} is used")


def _hidden(template: str) -> tuple[str | None, bool]:
    """Why a template shows no tools, and whether it renders nothing at all."""
    for turns in ([_USER], [_SYSTEM, _USER]):
        try:
            text = templates.render(template, _variables(turns, [PROBE.as_openai()]))
        except ModelError as error:
            if turns == [_USER]:
                return _reason(error), _rendered(template, turns) is None
            continue  # some have no system turn, which is no fault
        for part, reason in _NEEDED.items():
            if part not in text:
                return reason, False
    return None, False


def _reason(error: ModelError) -> str:
    said = str(error).removeprefix("the model's ")
    return "".join(sign if sign.isprintable() else " " for sign in said)  # a stranger's words


def _rendered(template: str, turns: list[dict[str, Any]]) -> str | None:
    """A conversation without tools, up to where the model goes on; None when it is refused."""
    try:
        return templates.render(template, _variables(turns, None))
    except ModelError:
        return None


def _variables(turns: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    asked = {"messages": turns, "tools": tools, "documents": None, "add_generation_prompt": True}
    return {**asked, **_TOKENS}


def _nothing_there(where: object, markers: Collection[str]) -> str:
    known = [name for name, family in FAMILIES.items() if family.end in markers]
    advice = f"its tokens look like {known[0]}: --template {known[0]}" if known else way_out()
    return f"{where}: no chat template, so nobody can say how its prompts look; {advice}"


def _refusal(own: str, where: object, why: str, family: str | None) -> str:
    told = f"{where}: its chat template shows the model no tools ({why})"
    if family is not None:
        return f"{told}; leave --template own out, and edgetool's own {family} template is used"
    if (near := _marked(own)) is not None:
        return (
            f"{told}, and writes turns a little otherwise than {FAMILIES[near].shown}'s; to use "
            f"those all the same: --template {near}; or {way_out()}"
        )
    return f"{told}, and its turns are of no family that edgetool knows; {way_out()}"


def way_out() -> str:
    """What to type where a model has no template that shows tools."""
    return f"name one with --template: {', '.join(FAMILIES)}, or a file of your own in Jinja"
