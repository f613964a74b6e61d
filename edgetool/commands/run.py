"""Ask, and print the call as JSON; --exec runs it and asks on.

Exit code 0 when a call was made, 3 when none was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetool.calls.syntaxes.base import CUT
from edgetool.calls.types import Tool, ToolCall
from edgetool.chat import slash_commands
from edgetool.commands.common import (
    AdapterOption,
    JsonOption,
    ModelArgument,
    TemplateOption,
    ThinkingOption,
    ToolsOrFunctionsOption,
    group,
)
from edgetool.commands.targets import gguf_of, require_adapter
from edgetool.data.tool_files import load_tools
from edgetool.errors import PromptTooLong, UsageError
from edgetool.runtime import Sampling
from edgetool.terminal import printable

if TYPE_CHECKING:
    from edgetool.chat.agent import Functions, Ran, Turn
    from edgetool.llama.session import LlamaSession

PROMPT = "> "
SHOWN = 300  # characters of a result; the model is told more

app = group()


@app.command(help=__doc__)
def run(
    model: ModelArgument,
    question: Annotated[
        str | None, typer.Argument(help="What you would say; without it, a chat.")
    ] = None,
    tools: ToolsOrFunctionsOption = None,
    exec_: Annotated[
        Path | None,
        typer.Option("--exec", metavar="PY", help="Run calls with this file's functions."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run every call without asking.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Most rounds of calls for a question.")
    ] = None,
    as_json: JsonOption = False,
    free: Annotated[bool, typer.Option("--free", help="Decode without the grammar.")] = False,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    thinking: ThinkingOption = False,
    max_completion_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of an answer.")
    ] = None,
    template: TemplateOption = None,
    adapter: AdapterOption = None,
) -> None:
    asking = Asking(
        question=question,
        tools=tools,
        exec=exec_,
        yes=yes,
        json=as_json,
        constrained=not free,
        rounds=rounds,
        system=system,
        thinking=thinking or None,
        max_completion_length=max_completion_length,
        template=template,
        adapter=adapter,
    )
    if not run_ask(gguf_of(model), asking):
        raise typer.Exit(3)


@dataclass(frozen=True)
class Asking:
    """What was typed behind `edgetool run MODEL`.

    question   None: a chat
    tools      a JSON file, or a Python file of functions
    exec       a Python file whose functions carry the calls out
    yes        without asking
    template   the chat template, as `template_choice.choose` is asked for one
    thinking   the model thinks before it answers; None: as it was trained to
    adapter    a LoRA adapter's GGUF file, added to the model's weights
    """

    question: str | None = None
    tools: Path | None = None
    exec: Path | None = None
    yes: bool = False
    json: bool = False
    constrained: bool = True
    rounds: int | None = None
    system: str | None = None
    thinking: bool | None = None
    max_completion_length: int | None = None
    template: str | None = None
    adapter: Path | None = None


def run_ask(model: Path, asking: Asking) -> bool:
    """Print calls and prose; returns whether a call was made.

    Raises UsageError before the model is loaded for what cannot work, and as Chat.answer does.
    """
    from edgetool.llama.prompt_cache import prefill
    from edgetool.llama.session import LlamaSession, chosen_by

    _require_sense(asking)
    require_adapter(asking.adapter, model)
    functions = _functions(asking)
    tools = functions.tools if functions else tools_from(asking.tools)
    with LlamaSession(
        model,
        template=asking.template,
        tools=bool(tools),
        thinking=asking.thinking,
        adapter=asking.adapter,
    ) as session:
        if note := chosen_by(session.prompter).note:
            _note(note)
        if tools and asking.system is None:
            prefill(session, tools)
        talk = _Talk(session, tools, functions, asking)
        if asking.question is not None:
            return talk.turn(asking.question)
        return talk.chat()


def tools_from(path: Path | None) -> tuple[Tool, ...]:
    """The tools of a file as `load_tools` takes it, none without one."""
    return () if path is None else load_tools(path)


def _functions(asking: Asking) -> Functions | None:
    from edgetool.chat.agent import Functions

    if asking.exec is None:
        return None
    tools = None if asking.tools is None else tools_from(asking.tools)
    return Functions.from_file(asking.exec, tools)


def _require_sense(asking: Asking) -> None:
    if asking.exec is None and (asking.yes or asking.rounds is not None):
        option = "--yes" if asking.yes else "--rounds"
        raise UsageError(f"{option} is about calls that are run; name your functions with --exec")
    if asking.exec and not asking.yes and not sys.stdin.isatty():
        raise UsageError(
            "--exec asks before each call, and there is no terminal to ask on; add --yes to run "
            "every call the model makes"
        )


class _Talk:
    """Questions in, calls and prose out. Standard output has nothing else."""

    def __init__(
        self,
        session: LlamaSession,
        tools: tuple[Tool, ...],
        functions: Functions | None,
        asking: Asking,
    ) -> None:
        from edgetool.chat.chat import Chat

        self._functions, self._asking = functions, asking
        # Somebody is watching: prose shows while it is written.
        self._live = asking.question is None and not asking.json and sys.stdout.isatty()
        default = Sampling()
        limit = asking.max_completion_length or default.max_completion_length
        self._chat = Chat(
            session,
            tools,
            system=asking.system,
            constrained=asking.constrained,
            sampling=Sampling(max_completion_length=limit),
            on_text=(lambda text: print(_safe(text), end="", flush=True)) if self._live else None,
        )
        self._opening = len(self._chat.messages)

    def chat(self) -> bool:
        """Turns until the input ends; whether a call was made in any."""
        called = False
        if sys.stdin.isatty():
            _note(slash_commands.BANNER)
        for line in _lines():
            command = slash_commands.command_of(line)
            if command == slash_commands.BYE:
                break
            if command is not None:
                self._obey(command)
            elif line.strip():
                called = self._patient_turn(line.strip()) or called
        return called

    def _obey(self, command: str) -> None:
        match command:
            case slash_commands.HELP:
                _note("\n" + slash_commands.help_text())
            case slash_commands.TOOLS:
                _note("\n" + _safe(slash_commands.tools_text(self._chat.tools)))
            case slash_commands.CLEAR:
                del self._chat.messages[self._opening :]
                _note("the conversation is forgotten")
            case _:
                _note(slash_commands.unknown(_safe(command)))

    def _patient_turn(self, question: str) -> bool:
        """A turn, taken back where the conversation has become too long for it."""
        before = len(self._chat.messages)
        try:
            return self.turn(question)
        except PromptTooLong as error:
            del self._chat.messages[before:]
            _note(f"{error}; {slash_commands.CLEAR} begins again")
            return False

    def turn(self, question: str) -> bool:
        """Ask and print what comes; whether a call was made."""
        from edgetool.chat.agent import converse

        rounds = {} if self._asking.rounds is None else {"rounds": self._asking.rounds}
        turn = converse(
            self._chat, question, self._functions, allow=self._allow, tell=_tell, **rounds
        )
        if self._asking.json:
            print(_line(turn.as_json()), flush=True)
        else:
            self._print(turn)
        if turn.problem == CUT:
            _note("the completion was cut; allow it more with --max-completion-length")
        elif turn.problem:
            _note(f"the completion has a problem: {turn.problem}")
        for one in turn.faults:
            _note(_safe(f"the call does not fit its tool's schema: {one}"))
        if turn.limit:
            _note("the model still makes calls; allow it more with --rounds")
        return turn.called

    def _print(self, turn: Turn) -> None:
        seen = self._live and self._functions is not None  # the question before each call
        for call in () if seen else turn.calls:
            print(_line(call.as_json()))
        if self._live:
            print(flush=True)
        elif turn.answer.text:
            text = turn.answer.text
            print(_safe(text) if sys.stdout.isatty() else text, flush=True)

    def _allow(self, call: ToolCall) -> bool:
        if self._asking.yes:
            return True
        print(f"run {shown(call)}? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def shown(call: ToolCall) -> str:
    """A call as Python writes it, control characters made visible: somebody decides by it."""
    arguments = ", ".join(
        f"{name if name.isidentifier() else repr(name)}={value!r}"
        for name, value in call.arguments.items()
    )
    return f"{call.name}({arguments})"


def _safe(text: str) -> str:
    """Text for a terminal, which takes control characters for orders."""
    return printable(text, keep="\n\t", instead="\ufffd")


def _tell(ran: Iterable[Ran]) -> None:
    for one in ran:
        result = repr(one.result)
        rest = " ..." if len(result) > SHOWN else ""
        _note(f"{one.call.name} {one.outcome}: {result[:SHOWN]}{rest}")


def _lines() -> Iterator[str]:
    """What is typed, a line at a time."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline  # noqa: F401 - gives input() its history and arrow keys

    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print()
            return


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _note(text: str) -> None:
    print(f"edgetool: {text}", file=sys.stderr, flush=True)
