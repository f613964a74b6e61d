"""llama-server as the engine, in a process of its own.

`python -m edgetool.llama.llama_server_worker`, driven by `client.py` as `worker.py` is, by the
same lines of JSON. Templates, tokenizer and
grammars are here, from the file's header alone; llama-server, a child of this process, has the
weights. When it ends this process does too, and whoever started both starts them again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil

from edgetool.calls.prompt.prompt import Prompter
from edgetool.errors import EdgetoolError, EngineError, ModelError, UsageError
from edgetool.gguf_header import require_gguf
from edgetool.llama.heartbeat import LOADING, WRITING, Marks, Pulse, die_with_parent
from edgetool.llama.llama_server import (
    Hearing,
    command,
    complaint,
    environment,
    grammar_of,
    request,
)
from edgetool.llama.load import listening, threads_for, trained_context, without_templates
from edgetool.llama.memory import LLAMA_SERVER, footprint
from edgetool.llama.prepare import prompt_ids
from edgetool.llama.process import advice
from edgetool.llama.protocol import Job, job_from_json, refused
from edgetool.llama.session import CONTEXT, chosen_by, prompter_of, room_of, text_ids
from edgetool.llama.thinking import Prompters
from edgetool.llama.vocab import read_vocabulary
from edgetool.llama.worker import Say, listen, messages_from_parent

_POLL_SECONDS = 0.05
_ENDING_SECONDS = 1.0  # a broken connection is mostly its end, which the watch tells
_TAIL_LINES, _TAIL = 8, 300  # of its log, told when it ends


def main() -> None:
    listen(lambda settings, say, pulse: asyncio.run(_work(settings, say, pulse)))


async def _work(settings: dict[str, Any], say: Say, pulse: Pulse) -> None:
    spelling = Spelling(
        Path(settings["path"]),
        settings["context"],
        settings["call_syntax"],
        settings["template"],
        settings.get("thinking"),
    )
    model = footprint(spelling.path)
    sequences = model.affordable(spelling.limit, settings["sequences"], LLAMA_SERVER)
    key, port = secrets.token_urlsafe(32), _free_port()
    run = command(
        Path(settings["binary"]),
        spelling.path,
        port=port,
        context=spelling.limit,
        sequences=sequences,
        threads=threads_for(spelling.path, settings["threads"]),
        adapter=settings["adapter"],
    )
    server = await Server.start(run, environment(key))
    pulse.marks = lambda: {LOADING: server.seconds()}
    try:
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {key}"},
            timeout=None,  # the parent's watchdog is the one clock
            limits=httpx.Limits(max_connections=None),
            trust_env=False,  # no proxy stands between us
        )
        async with client:
            await server.ready(client, spelling.path)
            say(
                {
                    "thinking_modes": spelling.prompters.thinking_modes().as_json(),
                    "context": spelling.limit,
                    "sequences": sequences,
                    "chat_template": asdict(chosen_by(spelling.prompter)),
                    "patience": {},
                    "room": asdict(spelling.room),
                }
            )
            worker = LlamaServerWorker(spelling, client, server, say)
            pulse.marks = worker.marks
            await worker.serve()
    finally:
        await server.stop()


class Spelling:
    """What of a GGUF file prompts are made with; the weights are not loaded.

    limit   tokens a prompt and its completion may have together
    """

    def __init__(
        self,
        path: Path,
        context: int | None,
        call_syntax: str | None,
        template: str | None = None,
        thinking: bool | None = None,
    ) -> None:
        import llama_cpp

        require_gguf(path)
        self.path = path
        with listening() as complaints, without_templates():
            try:
                self._llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
            except (ValueError, RuntimeError) as error:
                raise ModelError(
                    f"{path}: llama.cpp cannot read it ({[*complaints, error][0]}); "
                    f"export or copy it again"
                ) from error
        vocabulary = read_vocabulary(llama_cpp.llama_model_get_vocab(self._llama.model))
        self.prompter: Prompter = prompter_of(
            path, self._llama, vocabulary, call_syntax, template, thinking
        )
        self.prompters = Prompters(self.prompter)
        self.limit = trained_context(self._llama.metadata, CONTEXT if context is None else context)
        self.room = room_of(path, self.limit, vocabulary, self.prompter)

    def prompt_ids(self, job: Job) -> list[int]:
        """Token ids [P] of a job's prompt. Raises ModelError, PromptTooLong."""

        def encode(text: str) -> list[int]:
            return text_ids(self._llama, self.prompter, text)

        ids = prompt_ids(job, self.prompters.of(job), self.room, encode)
        self.room.require(ids)
        return ids


class Server:
    """The llama-server, and the end of its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, run: list[str], variables: dict[str, str]) -> Server:
        """Raises ModelError where it cannot be run at all."""
        try:
            process = await asyncio.create_subprocess_exec(
                *run,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise UsageError(f"{run[0]}: cannot be run: {error.strerror}") from error
        return cls(process)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(4096):
            self._tail.append(piece)

    async def ready(self, client: httpx.AsyncClient, model: Path) -> None:
        """Wait until it has loaded the model. Raises ModelError when it ends instead."""
        while self._process.returncode is None:
            try:
                if (await client.get("/health")).is_success:
                    return
            except httpx.TransportError:  # it does not listen yet
                pass
            await asyncio.sleep(_POLL_SECONDS)
        ended = self._process.returncode
        raise ModelError(f"{model}: {await self.last_words()}{advice(ended)}")

    async def last_words(self) -> str:
        """What is known of why it ended; waits for its end."""
        code = await self._process.wait()
        await self._reading
        said = b"".join(self._tail).decode("utf-8", "replace").strip()[-_TAIL:]
        return f"llama-server ended with {code}" + (f": {said}" if said else "")

    def seconds(self) -> float | None:
        """Processor time it has taken; None once it is gone."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    async def stop(self) -> None:
        """End it at once: it has nothing to save."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class LlamaServerWorker:
    """Hands jobs to llama-server, which has its own queue, and says what comes back."""

    def __init__(
        self, spelling: Spelling, client: httpx.AsyncClient, server: Server, say: Say
    ) -> None:
        self._spelling, self._client, self._server, self._say = spelling, client, server, say
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def marks(self) -> Marks:
        """What is gone on with, for another thread to tell. A llama-server that has work and takes
        no processor time is stopped; of its steps it says nothing, so a loop in it is not seen."""
        return {WRITING: self._server.seconds() if self._tasks else None}

    async def serve(self) -> None:
        """Until the parent closes the pipe. A llama-server that ended ends this process."""
        watching = asyncio.create_task(self._watch())
        inbox = messages_from_parent()
        while (message := await asyncio.to_thread(inbox.get)) is not None:
            if "cancel" in message:
                task = self._tasks.get(message["cancel"])
                if task is not None:
                    task.cancel()  # closes the connection, which it takes for a cancellation
                continue
            number, job = message["job"], job_from_json(message["request"])
            self._tasks[number] = asyncio.create_task(self._do(number, job))
        watching.cancel()

    async def _watch(self) -> None:
        print(await self._server.last_words(), file=sys.stderr, flush=True)
        os._exit(1)  # the reader's thread waits for a line that may never come

    async def _do(self, number: int, job: Job) -> None:
        try:
            try:
                body = await asyncio.to_thread(self._body, job)
            except EdgetoolError as error:  # no prompt or no grammar can be made of it
                self._say({"job": number, **refused(error, usage=True)})
                return
            await self._write(number, body)
        except EdgetoolError as error:
            self._say({"job": number, **refused(error)})
        except httpx.TransportError as error:
            await asyncio.sleep(_ENDING_SECONDS)
            said = EngineError(f"llama-server broke off ({error}); ask again")
            self._say({"job": number, **refused(said)})
        finally:
            self._tasks.pop(number, None)

    def _body(self, job: Job) -> dict[str, Any]:
        if job.logprobs or job.stop_ids or isinstance(job.prompt, tuple):
            raise UsageError(
                "llama-server is not asked for token ids and log-probabilities; serve the file "
                "without --llama-server"
            )
        prompt = self._spelling.prompt_ids(job)
        budget = min(job.sampling.max_completion_length, self._spelling.limit - len(prompt))
        prompter = self._spelling.prompters.of(job)
        grammar = grammar_of(job, prompter.syntax)
        return request(prompt, budget, job.sampling, grammar, job, prompter.spoken_markers())

    async def _write(self, number: int, body: dict[str, Any]) -> None:
        """Raises UsageError for what it does not take, EngineError where it fails."""
        started, hearing = time.perf_counter(), Hearing()
        async with self._client.stream("POST", "/completion", json=body) as reply:
            if not reply.is_success:
                await reply.aread()
                theirs = UsageError if reply.is_client_error else EngineError
                raise theirs(f"llama-server: {_why(reply)}")
            async for line in reply.aiter_lines():
                delta = hearing.feed(line, time.perf_counter() - started)
                if delta is not None:
                    self._say({"job": number, "delta": asdict(delta)})
                if hearing.done is not None:
                    self._say({"job": number, "done": asdict(hearing.done)})
                    return
        raise EngineError(
            "llama-server stopped before the end of the completion; send the request again"
        )


def _why(reply: httpx.Response) -> str:
    try:
        return complaint(reply.json())
    except ValueError:
        return f"status {reply.status_code}"


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


if __name__ == "__main__":
    main()
