"""A GGUF file in child processes, as a Runtime: a crash of the engine costs one row.

A small model is run once per core with one thread each, since its matrices are too small to be
shared among threads; a larger one once, with all of them.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.template_choice import ChatTemplate
from edgetool.calls.prompt.thinking import syntax_from_json
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError, UsageError
from edgetool.files import sha256_of
from edgetool.fingerprint import print_of
from edgetool.llama.load import SMALL_FILE
from edgetool.llama.process import Child, refusal
from edgetool.runtime import FREE, Completion, Sampling, failed
from edgetool.system import cores

# Completions written together by one process. On a CPU more of them make a token no cheaper (four
# take a third off a small model's step), and each needs a KV cache.
SEQUENCES = 4


class PoolRuntime:
    """Completions from a GGUF file, by as many processes as pay.

    name      what a report calls it: "gguf:Q8_0"
    workers   processes; threads and sequences of each
    template  as `template_choice.choose` is asked for one
    adapter   a LoRA adapter's GGUF file, added to the model's weights

    Raises ModelError for a file that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        name: str = "gguf",
        *,
        workers: int | None = None,
        threads: int | None = None,
        sequences: int = SEQUENCES,
        context: int | None = None,
        call_syntax: str | None = None,
        template: str | None = None,
        thinking: bool | None = None,
        adapter: Path | None = None,
    ) -> None:
        available = cores()
        small = path.is_file() and path.stat().st_size < SMALL_FILE
        count = workers or (available if small else 1)
        self.path, self.name, self.peak_mb = path, name, 0.0
        self._asked = "" if thinking is None else f" thinking={thinking}"
        self._asked += f" adapter={sha256_of(adapter)}" if adapter else ""
        settings = {
            "path": str(path),
            "context": context,
            "threads": threads or max(1, available // count),
            "sequences": sequences,
            "call_syntax": call_syntax,
            "template": template,
            "thinking": thinking,
            "adapter": str(adapter) if adapter else None,
        }
        self._workers = [Child("edgetool.llama.pool_worker", settings) for _ in range(count)]
        try:
            first, *_ = [worker.hello() for worker in self._workers]
        except EdgetoolError:
            self.close()
            raise
        self.syntax = syntax_from_json(first["syntax"])
        self.chat_template = ChatTemplate(**first["chat_template"])
        self.arms = tuple(first["arms"])
        self._sequences = first["sequences"]

    def __enter__(self) -> PoolRuntime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()

    @property
    def fingerprint(self) -> str:
        return print_of(self.path, self.chat_template) + self._asked

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        """One completion per example, as they are done; rows with the same tools follow each
        other, so that what their prompts share is read once.

        Raises UsageError for an arm that is not offered.
        """
        if arm not in self.arms:
            raise UsageError(f"arm '{arm}' is not offered here; choose of: {', '.join(self.arms)}")
        work = _Work(examples, sampling, arm, self._sequences)
        threads = [
            threading.Thread(target=work.run, args=(worker,), daemon=True)
            for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                found = work.done.get()
                if found is None:
                    running -= 1
                elif isinstance(found, BaseException):
                    raise found
                else:
                    number, completion, peak = found
                    self.peak_mb = max(self.peak_mb, peak)
                    yield number, completion
        finally:  # also when nobody wants the rest
            work.given_up = True
            early = any(thread.is_alive() for thread in threads)
            if early:
                self.close()
            for thread in threads:
                thread.join()
            if early:  # one may have been starting a new child meanwhile
                self.close()


class _Work:
    """The rows of one `generate`, taken by several workers. `done` ends with None from each."""

    def __init__(
        self, examples: Sequence[Example], sampling: Sampling, arm: str, together: int
    ) -> None:
        self._examples, self._sampling, self._arm = examples, asdict(sampling), arm
        tools = [dumps([tool.as_openai() for tool in example.tools]) for example in examples]
        first: dict[str, int] = {}
        for number, text in enumerate(tools):
            first.setdefault(text, number)
        self._todo = deque(sorted(range(len(examples)), key=lambda i: first[tools[i]]))
        self._together = together
        self.done: queue.Queue[tuple[int, Completion, float] | BaseException | None] = queue.Queue()
        self.given_up = False

    def run(self, worker: Child) -> None:
        try:
            self._run(worker)
        except EdgetoolError as error:
            self.done.put(error)
        self.done.put(None)

    def _run(self, worker: Child) -> None:
        flying: list[int] = []
        while not self.given_up:
            while len(flying) < self._together and (number := self._next()) is not None:
                worker.say(self._job(number))
                flying.append(number)
            if not flying:
                return
            if not self._receive(worker, flying) and not self.given_up:
                self._one_by_one(worker, flying)
                flying = []

    def _next(self) -> int | None:
        try:
            return self._todo.popleft()
        except IndexError:
            return None

    def _receive(self, worker: Child, flying: list[int]) -> bool:
        """Take one finished row off `flying`; False when the child is gone."""
        message = worker.hear()
        if message is None:
            return False
        if "refused" in message:
            raise refusal(message)
        found = message["completion"]
        completion = Completion(**{**found, "token_ids": tuple(found["token_ids"])})
        flying.remove(message["job"])
        self.done.put((message["job"], completion, message["peak_mb"]))
        return True

    def _one_by_one(self, worker: Child, suspects: list[int]) -> None:
        """After a crash: each row that was on its way once more, alone, in a new child."""
        last_words = worker.restart()
        for number in suspects:
            if len(suspects) > 1 and not self.given_up:
                worker.say(self._job(number))
                if self._receive(worker, [number]):
                    continue
                last_words = worker.restart()
            self.done.put((number, failed(last_words), 0.0))

    def _job(self, number: int) -> dict[str, Any]:
        example = self._examples[number]
        return {
            "job": number,
            "arm": self._arm,
            "sampling": self._sampling,
            "id": example.id,
            "messages": list(example.messages),
            "tools": [vars(tool) for tool in example.tools],
        }
