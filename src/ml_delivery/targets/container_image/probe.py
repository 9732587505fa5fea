"""Loads a service's WSGI application and sends it requests, in a virtual environment with its packages; standard library only.

``python -P probe.py RESULT PATH…`` writes JSON to the file ``RESULT``: ``{"fault": "", "answers": {path: [status, body]}}``,
or the error that stopped it. What the service prints goes to standard output and is not read.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

ASGI = "create_app() returns an application of ASGI, as FastAPI's are, and gunicorn calls WSGI's: return a2wsgi.ASGIMiddleware(app)"


def get(path: str) -> dict[str, Any]:
    """The request for ``path``, as far as it is not WSGI's default."""
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": ""}


def ask(app: Any, environ: dict[str, Any]) -> tuple[int, str]:
    """The status and body of the application's answer: https://peps.python.org/pep-3333/."""
    setup_testing_defaults(environ)
    lines: list[str] = []

    def start(line: str, *_: Any) -> Any:
        lines.append(line)
        return lines.append

    try:
        answer = app(environ, start)
    except TypeError as error:
        # The third argument that each ASGI application takes, and no WSGI application gets.
        if "'send'" not in str(error):
            raise
        raise TypeError(ASGI) from error
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return int(lines[0][:3]), body.decode("utf-8", "replace")


def main(module: str, factory: str, request: Callable[[str], dict[str, Any]]) -> None:
    """Request the paths, each as ``request`` makes it, from the application of ``factory`` in ``module``; write the file."""
    result, paths = Path(sys.argv[1]), sys.argv[2:]
    answers: dict[str, tuple[int, str]] = {}
    fault = ""
    try:
        app = getattr(importlib.import_module(module), factory)()
        for path in paths:
            answers[path] = ask(app, request(path))
    except BaseException as error:  # including sys.exit: a service may do anything at import
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    result.write_text(json.dumps({"fault": fault, "answers": answers}), encoding="utf-8")


if __name__ == "__main__":
    main("service.app", "create_app", get)
