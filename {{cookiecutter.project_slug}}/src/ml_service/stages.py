"""Paths below a named stage of an HTTP API: the application sees them without the stage, and its links stay below it.

An HTTP API sends ``/prod/version`` for ``/version`` of its stage ``prod``; the stage ``$default``, which a Function URL has too,
adds nothing. https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-stages.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["mounted"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def mounted(app: Application) -> Application:
    """The WSGI application ``app``, mounted at the stage of each request (``SCRIPT_NAME``), which apig-wsgi passes on."""

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        stage = environ.get("apig_wsgi.request_context", {}).get("stage", "")
        rest = environ["PATH_INFO"].removeprefix(f"/{stage}")
        if stage and rest != environ["PATH_INFO"] and rest[:1] in ("", "/"):
            environ = {**environ, "SCRIPT_NAME": f"/{stage}", "PATH_INFO": rest or "/"}
        return app(environ, start)

    return serve
