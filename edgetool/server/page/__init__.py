"""The page at `/`: ask, and watch a call being written, constrained beside free.

A few static files and the server's own tools as JSON. The page may load and talk to this server
only, runs no script but its own, and writes what models and tools say as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgetool.calls.types import Tool

Handler = Callable[[Request], Awaitable[Response]]

_FOLDER = Path(__file__).parent
_KINDS = {".css": "text/css", ".js": "text/javascript"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def page_routes(tools: Sequence[Tool], guarded: Callable[[Handler], Handler]) -> list[Route]:
    """The page and what it reads.

    tools     the server's own, which the page begins with
    guarded   puts the server's key and host check before a handler; the static files, which hold
              nothing of anyone's, do without
    """

    async def offered(_: Request) -> Response:
        return JSONResponse([tool.as_openai() for tool in tools], headers=HEADERS)

    files = sorted(file for file in _FOLDER.iterdir() if file.suffix in _KINDS)
    return [
        Route("/", _static(_FOLDER / "index.html", "text/html")),
        *(Route(f"/page/{file.name}", _static(file, _KINDS[file.suffix])) for file in files),
        Route("/page/tools.json", guarded(offered)),
    ]


def _static(file: Path, kind: str) -> Handler:
    content = file.read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return answer
