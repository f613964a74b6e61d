"""edgetool tools: what can be said of a list of tools before a model meets it."""

from __future__ import annotations

from pathlib import Path

from edgetool.calls.lint import Finding, lint
from edgetool.calls.types import Tool
from edgetool.data.tool_files import load_tools


def run_lint(path: Path, syntax: str | None) -> bool:
    """Print what is found, a line each; whether there was nothing.

    Raises UsageError or DataError for a file that cannot be read or a tool that cannot be offered.
    """
    tools = load_tools(path)
    findings = lint(tools) + (_refused(tools, syntax) if syntax else [])
    for finding in findings:
        print(finding)
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    print(f"{path}: {len(tools)} tool{'s' * (len(tools) != 1)}, {count}")
    return not findings


def _refused(tools: tuple[Tool, ...], syntax: str) -> list[Finding]:
    from edgetool.calls.guard import check_grammar

    return [
        Finding(f"no {syntax} grammar ({one.problem.splitlines()[0]})", one.tool, "simplify it")
        for one in check_grammar(tools, syntax)
        if one.problem is not None
    ]
