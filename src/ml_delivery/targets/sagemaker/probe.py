"""Loads a service's application and sends it requests, in a virtual environment with its packages; standard library only.

``python -P probe.py RESULT PATH…`` writes JSON to the file ``RESULT``: ``{"fault": "", "answers": {path: [status, body]}}``,
or the error that stopped it. Each request is made as SageMaker passes it on. What the service prints is not read.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults


def ask(app: Any, path: str) -> tuple[int, str]:
    """The status and body of the application's answer: https://peps.python.org/pep-3333/."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/invocations",
        "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": f"GET {path}",
    }
    setup_testing_defaults(environ)
    lines: list[str] = []

    def start(line: str, *_: Any) -> Any:
        lines.append(line)
        return lines.append

    answer = app(environ, start)
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return int(lines[0][:3]), body.decode("utf-8", "replace")


def main(result: Path, paths: list[str]) -> None:
    """Request ``paths`` from the application and write its answers to the file ``result``."""
    answers: dict[str, tuple[int, str]] = {}
    fault = ""
    try:
        app = importlib.import_module("ml_service.invocations").application()
        for path in paths:
            answers[path] = ask(app, path)
    except BaseException as error:  # including sys.exit: a service may do anything at import
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    result.write_text(json.dumps({"fault": fault, "answers": answers}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
