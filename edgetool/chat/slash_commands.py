"""What may be typed in a chat that is not for the model."""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.types import Tool

HELP, CLEAR, TOOLS, BYE = "/help", "/clear", "/tools", "/bye"
ABOUT = {
    HELP: "lists the commands",
    TOOLS: "lists the tools on offer",
    CLEAR: "forgets the conversation",
    BYE: "ends the chat",
}
_ALIASES = {
    "/?": HELP,
    "/new": CLEAR,
    "/exit": BYE,
    "/quit": BYE,
    "bye": BYE,
    "exit": BYE,
    "quit": BYE,
}

BANNER = f"a chat; {', '.join([HELP, TOOLS, CLEAR])} are commands, {BYE}, exit or Ctrl-D leaves"


def command_of(line: str) -> str | None:
    """The command a line is, by its first name; None for what is meant for the model.

    A line whose first word begins with "/" is a command, known or not, unless a space stands before
    it or the word is a path.
    """
    text = line.strip().lower()
    word = text.split(" ")[0]
    if text in _ALIASES or word in ABOUT:
        return _ALIASES.get(text, word)
    meant = line.startswith("/") and word.count("/") == 1 and len(word) > 1
    return _ALIASES.get(word, word) if meant else None


def unknown(command: str) -> str:
    """What to say of a command that nobody knows."""
    return (
        f"{command}: no such command, nothing was sent; {HELP} lists them, and a line that begins "
        "with a space goes to the model"
    )


def help_text() -> str:
    """A line for each command."""
    others = {name: [a for a, meant in _ALIASES.items() if meant == name] for name in ABOUT}
    names = {name: ", ".join([name, *others[name]]) for name in ABOUT}
    width = max(map(len, names.values()))
    return "\n".join(f"  {names[name]:<{width}}  {about}" for name, about in ABOUT.items())


def tools_text(tools: Sequence[Tool]) -> str:
    """A line for each tool: its name, its arguments, those in brackets may be left out."""
    if not tools:
        return "  no tools; name some with --tools FILE"
    return "\n".join(
        f"  {_signature(tool)}  {tool.description.split(chr(10))[0]}" for tool in tools
    )


def _signature(tool: Tool) -> str:
    named = tool.parameters.get("properties") or {}
    arguments = [name if name in tool.required else f"[{name}]" for name in named]
    return f"{tool.name}({', '.join(arguments)})"
