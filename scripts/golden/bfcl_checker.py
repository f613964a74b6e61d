"""Let BFCL's own checker judge calls: JSON lines in, JSON lines out.

    {"category", "functions", "answers", "calls": [{name: arguments}, ...]} -> {"valid", "error"}

It runs in a venv of bfcl-eval's own and imports nothing of edgetool; scripts/bfcl_agreement.py
makes the venv and calls it. bfcl-eval's table of models loads the client of every model vendor
there is, and the checker asks of it only whether a model writes "_" for "." in names, so this one
entry stands in for the table.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

MODEL = "as-written"

models = ModuleType("bfcl_eval.constants.model_config")
models.MODEL_CONFIG_MAPPING = {MODEL: SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
sys.modules["bfcl_eval.constants.model_config"] = models

from bfcl_eval.constants.enums import Language  # noqa: E402
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # noqa: E402


def judged(case: dict[str, Any]) -> dict[str, Any]:
    try:
        found = ast_checker(
            case["functions"],
            case["calls"],
            case["answers"],
            Language.PYTHON,
            case["category"],
            MODEL,
        )
    except Exception as error:  # noqa: BLE001  what it does on odd input is what is being recorded
        return {"valid": False, "error": f"raised {error!r}"}
    return {"valid": found["valid"], "error": found.get("error_type", "")}


for line in sys.stdin:
    print(json.dumps(judged(json.loads(line))))
