"""What Prometheus may ask of a server: requests, tokens, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgetool.server.completions import Choice

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "edgetool_requests", "Requests answered", ["path", "status"], registry=registry
        )
        self.in_progress = Gauge(
            "edgetool_requests_in_progress", "Completions asked for and not over", registry=registry
        )
        self.seconds = Histogram(
            "edgetool_request_seconds",
            "Time to the end of an answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_seconds = Histogram(
            "edgetool_first_token_seconds",
            "Time from a request to the first token of an answer, the queue included",
            buckets=_SECONDS,
            registry=registry,
        )
        self._choices = Counter(
            "edgetool_completions", "Completions by how they ended", ["reason"], registry=registry
        )
        self._tokens = Counter(
            "edgetool_tokens",
            "Tokens: prompt, cached (of prompt), completion, forced and drafted (of completion)",
            ["kind"],
            registry=registry,
        )
        self._passes = Counter(
            "edgetool_forward_passes",
            "Forward passes of the model behind prompts",
            registry=registry,
        )

    def count(self, choices: Sequence[Choice]) -> None:
        """Take note of an answer."""
        for choice in choices:
            done, completion = choice.done, choice.done.completion
            self._choices.labels(choice.reason).inc()
            self._tokens.labels("prompt").inc(done.prompt_tokens)
            self._tokens.labels("cached").inc(done.cached)
            self._tokens.labels("completion").inc(len(completion.token_ids))
            self._tokens.labels("forced").inc(completion.forced)
            self._tokens.labels("drafted").inc(choice.drafted)
            self._passes.inc(done.passes)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class Watch:
    """The times of one answer, from the moment its request came in."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._started = metrics, time.perf_counter()
        self._has_begun = False

    def first_token(self) -> None:
        """Something of the answer is written; only the first call counts."""
        if not self._has_begun:
            self._has_begun = True
            self._metrics.first_seconds.observe(time.perf_counter() - self._started)

    def over(self, choices: Sequence[Choice]) -> None:
        """The answer is whole. One that says nothing has its stop token for a first one."""
        self.first_token()
        self._metrics.seconds.observe(time.perf_counter() - self._started)
        self._metrics.count(choices)


class Counted:
    """An ASGI application whose answers are counted by path and status.

    paths   those that are told apart; strangers may make up others without end
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        await self._app(scope, receive, count)
        return None
