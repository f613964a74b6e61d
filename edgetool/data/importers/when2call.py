"""When2Call (NVIDIA): should the assistant call, ask, or say that it cannot? Its test set, for
evaluation only; `when2call_train` reads the rows that are meant for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgetool.data.check import Problem, mapping, require_text
from edgetool.data.draft import Draft, call_of, json_list
from edgetool.data.importers.conversation import said

NAME = "when2call"
ABOUT = "When2Call: call, ask or decline (evaluation only)"
EVALUATION_ONLY = True


def recognises(record: dict[str, Any]) -> bool:
    return {"question", "tools", "answers", "correct_answer"} <= set(record)


def drafts(record: dict[str, Any], companions: None) -> Iterator[Draft]:
    tools = json_list("tools", record["tools"])
    answers, kind = mapping("answers", record["answers"]), record["correct_answer"]
    if kind not in answers:
        raise Problem("correct_answer", kind, f"must be one of {', '.join(answers)}")
    messages = [said("user", require_text("question", record["question"]))]
    metadata = {"id": record.get("uuid"), "category": kind}
    if kind == "tool_call":
        call = call_of("answers.tool_call", answers[kind])
        yield Draft(messages, tools, [call], metadata=metadata)
    else:
        yield Draft(messages, tools, [], require_text(f"answers.{kind}", answers[kind]), metadata)
