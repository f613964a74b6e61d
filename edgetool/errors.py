"""Every error edgetool raises on purpose.

    EdgetoolError            exit code 1: the command was right, the work failed
    ├── UsageError           exit code 2: what the user typed cannot work
    │   └── ConfigError      ... because of a configuration key or value
    ├── DataError            rows that cannot be used; carries every problem, not only the first
    ├── PromptTooLong        a prompt beyond the limit the user set
    ├── ModelError           a model folder or GGUF file that cannot be used
    │   └── NoSuchModel      ... because there is none: exit code 2
    └── EngineError          llama.cpp or a grammar engine failed on valid input
        └── Busy             ... for now: its queue is full, or it is being started again

A message says what is wrong, where, the offending value and what to type next.
"""

from __future__ import annotations

from collections.abc import Sequence


class EdgetoolError(Exception):
    """Base of all errors a user may see without a traceback."""

    exit_code = 1


class UsageError(EdgetoolError):
    """The command line cannot work as typed."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more configuration keys are unknown or hold impossible values."""


class DataError(EdgetoolError):
    """One or more rows cannot be used. `problems` holds a line for each."""

    # Past this many a terminal scrolls away the first ones, which matter most.
    SHOWN = 20

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = list(self.problems[: self.SHOWN])
        if len(self.problems) > self.SHOWN:
            shown.append(f"... and {len(self.problems) - self.SHOWN} more problems")
        super().__init__("\n".join(shown))


class PromptTooLong(EdgetoolError):
    """A prompt has more tokens than `max_prompt_length` or the model's context allows."""


class ModelError(EdgetoolError):
    """A model folder or file is missing a part, is unsafe, or has an unsupported architecture."""


class NoSuchModel(ModelError):
    """No model is where the user said it is."""

    exit_code = 2


class EngineError(EdgetoolError):
    """An inference or grammar engine failed on input that was valid.

    retry_seconds   when it may do better
    """

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Busy(EngineError):
    """No job can be taken for now: the queue is full, or the engine is being started again."""
