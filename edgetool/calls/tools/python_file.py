"""A user's own Python file, run as a module. Only ever one that the user named."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def module_from_file(path: Path, kind: str) -> ModuleType:
    """Run the file and give its module. What lies beside the file can be imported by it.

    kind   part of the module's name, so that files of the same name do not meet

    Raises ImportError for what is no Python file, and whatever the file's own code raises.
    """
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"edgetool_{kind}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look a class up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that nothing installed is hidden
    spec.loader.exec_module(module)
    return module
