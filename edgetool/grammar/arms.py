"""What each arm lets a completion say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgetool.calls.schema.parts import SchemaError
from edgetool.calls.schema.tree import arguments_of
from edgetool.calls.types import Tool
from edgetool.errors import EngineError, UsageError
from edgetool.runtime import ARMS, CONSTRAINED, FREE, GBNF, NAMES_ONLY, Constraint, Unconstrained

Make = Callable[[Sequence[Tool]], Constraint]


class Arms:
    """Constraints by arm, each engine made when it is first asked for.

    llguidance   makes the engine of the arms constrained and names_only
    gbnf         makes that of the arm gbnf; None where it is not offered
    """

    def __init__(
        self, llguidance: Callable[[], Make], gbnf: Callable[[], Make] | None = None
    ) -> None:
        self._engines = {CONSTRAINED: llguidance, NAMES_ONLY: llguidance, GBNF: gbnf}
        self._made: dict[Callable[[], Make], Make] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(arm for arm in ARMS if arm == FREE or self._engines[arm] is not None)

    def constraint(self, tools: Sequence[Tool], arm: str) -> Constraint | None:
        """The constraint of one completion; None in the free arm.

        Tools that a grammar cannot hold give an Unconstrained that says why. Raises UsageError for
        an arm that is not offered.
        """
        if arm == FREE:
            return None
        make = self._maker(arm)
        try:
            return make([names_only(tool) for tool in tools] if arm == NAMES_ONLY else tools)
        except EngineError as error:
            return Unconstrained(str(error))

    def _maker(self, arm: str) -> Make:
        engine = self._engines.get(arm)
        if engine is None:
            raise UsageError(f"arm '{arm}' is not offered here; choose of: {', '.join(self.names)}")
        if engine not in self._made:
            self._made[engine] = engine()
        return self._made[engine]


def names_only(tool: Tool) -> Tool:
    """The tool with its name and the names of its arguments kept; any JSON may be their value."""
    try:
        tree, shapes = arguments_of(tool)
    except SchemaError:  # of values that do not matter here
        names = tuple(tool.parameters.get("properties") or {})
        return _open_tool(tool, names, [name for name in names if _is_required(tool, name)], False)
    needed = [name for name in tree.names if all(name in one.required for one in shapes)]
    return _open_tool(tool, tree.names, needed, any(not one.is_closed for one in shapes))


def _is_required(tool: Tool, name: str) -> bool:
    return name in (tool.parameters.get("required") or ())


def _open_tool(tool: Tool, names: Sequence[str], needed: Sequence[str], open_: bool) -> Tool:
    """The tool with arguments of these names and any values; open_: other names too."""
    kept = {
        "type": "object",
        "properties": {name: {} for name in names},
        "required": list(needed),
        "additionalProperties": open_,
    }
    return Tool(tool.name, tool.description, kept)
