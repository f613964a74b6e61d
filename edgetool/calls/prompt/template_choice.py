"""Which chat template a model's prompts are made with: its own, if that shows the model its tools.

Most chat models' templates have no place for tools: a prompt reads the same with seven of them and
with none. Then edgetool's own template takes their place: the turns are the model's, in the markers
it was trained on, and tools, calls and results are written in the hermes syntax.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetool.calls.prompt import template as templates
from edgetool.calls.prompt.kit_template import (
    FAMILIES,
    SYSTEM,
    USER,
    continued,
    family_of,
    kit_template,
    marked_family,
    rendered,
    variables,
)
from edgetool.calls.types import Tool
from edgetool.errors import ModelError, UsageError
from edgetool.terminal import printable

OWN = "own"  # the model's own template and no other


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template in use.

    text   Jinja
    name   `own`, one of FAMILIES, or the file it was read from
    note   a line that says what took the place of the model's own template, and why; None: nothing
    """

    text: str
    name: str = OWN
    note: str | None = field(default=None, compare=False)

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


def why_tools_are_hidden(template: str) -> str | None:
    """What keeps a chat template from showing a tool to the model; None when nothing does.

    It is tried out: a tool is offered, and its name and argument have to be in the prompt, whether
    the conversation has a system message or not.
    """
    return _hidden(template)[0]


def choose(
    own: str | None,
    request: str | None = None,
    *,
    where: object,
    markers: Collection[str] = (),
    tools: bool = True,
) -> ChatTemplate:
    """The template to make prompts with.

    own       the model's, None when it has none
    request   None: `own` if it shows tools, else edgetool's for its turns; `own`; a name of
              FAMILIES; or a file with a template in Jinja
    where     the model, for messages
    markers   the texts of its control tokens, to advise by
    tools     prompts will have tools; without them the model's own template serves

    Raises ModelError for a template that is broken, and where no template shows tools; UsageError
    for a `request` that nobody knows.
    """
    if request not in (None, OWN):
        return _named(request, own, where)
    if not own or not own.strip():
        raise ModelError(_nothing_there(where, markers))
    why, broken = _hidden(own)
    if broken:
        raise ModelError(f"{where}: its chat template is broken ({why}); {way_out()}")
    if why is None or not tools:
        return ChatTemplate(own)
    family = family_of(own)
    if request == OWN or family is None:
        raise ModelError(_refusal(own, where, why, family))
    note = (
        f"{where}: its chat template shows the model no tools ({why}); edgetool's own "
        f"{FAMILIES[family].shown} template with the hermes call syntax takes its place "
        f"(--template own refuses instead)"
    )
    return ChatTemplate(continued(own, family), family, note)


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


def _named(request: str, own: str | None, where: object) -> ChatTemplate:
    """A template that was asked for by name or file."""
    if request in FAMILIES:
        return _kit(_of_family(request, own), request, where)
    file = Path(request).expanduser()
    if not file.is_file():
        raise UsageError(
            f"--template {request}: no such file, and not one of {OWN}, {', '.join(FAMILIES)}"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--template {request}: no text in UTF-8; name a Jinja file") from error
    if text == own:
        return ChatTemplate(text)
    if (why := why_tools_are_hidden(text)) is not None:
        raise ModelError(f"--template {request}: it shows the model no tools ({why})")
    for family in FAMILIES:  # a run keeps the template it was trained with
        if text == _of_family(family, own):
            return _kit(text, family, where)
    return ChatTemplate(text, str(file), f"{where}: the chat template {file} is used")


def _of_family(family: str, own: str | None) -> str:
    """A family's template, with what else the model's own has where that is of the family."""
    if own and marked_family(own) == family:
        return continued(own, family)
    return kit_template(family)


def _kit(text: str, family: str, where: object) -> ChatTemplate:
    template = f"{FAMILIES[family].shown} template with the hermes call syntax"
    return ChatTemplate(text, family, f"{where}: edgetool's own {template} is used")


def _hidden(template: str) -> tuple[str | None, bool]:
    """Why a template shows no tools, and whether it renders nothing at all."""
    for turns in ([USER], [SYSTEM, USER]):
        try:
            text = templates.render(template, variables(turns, [PROBE.as_openai()]))
        except ModelError as error:
            if turns == [USER]:
                return _reason(error), rendered(template, turns) is None
            continue  # some have no system turn, which is no fault
        for part, reason in _NEEDED.items():
            if part not in text:
                return reason, False
    return None, False


def _reason(error: ModelError) -> str:
    said = str(error).removeprefix("the model's ")
    return printable(said, keep="", instead=" ")


def _nothing_there(where: object, markers: Collection[str]) -> str:
    known = [name for name, family in FAMILIES.items() if family.end in markers]
    advice = f"its tokens look like {known[0]}: --template {known[0]}" if known else way_out()
    return f"{where}: no chat template, so the form of its prompts is unknown; {advice}"


def _refusal(own: str, where: object, why: str, family: str | None) -> str:
    problem = f"{where}: its chat template shows the model no tools ({why})"
    if family is not None:
        return f"{problem}; leave --template own out, and edgetool's own {family} template is used"
    if (near := marked_family(own)) is not None:
        return (
            f"{problem}, and writes turns a little otherwise than {FAMILIES[near].shown}'s; to use "
            f"those anyway, type --template {near}; or {way_out()}"
        )
    return f"{problem}, and its turns are of no family that edgetool knows; {way_out()}"


def way_out() -> str:
    """What to type where a model has no template that shows tools."""
    return f"name one with --template: {', '.join(FAMILIES)}, or a file of your own in Jinja"
