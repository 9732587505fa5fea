"""Imports a service's handler and calls it, in a virtual environment with the service's packages; standard library only.

``python -P probe.py RESULT PATH…`` writes JSON to the file ``RESULT``: ``{"fault": "", "answers": {path: [status, body]}}``,
or the error that stopped it. What the service prints goes to standard output and is not read.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def event(path: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "doctor"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "localhost", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {"http": http, "requestId": "doctor", "stage": "$default", "timeEpoch": 0},
        "isBase64Encoded": False,
    }


def main(result: Path, paths: list[str]) -> None:
    """Request ``paths`` from the handler and write its answers to the file ``result``."""
    answers: dict[str, tuple[Any, str]] = {}
    fault = ""
    try:
        handler = importlib.import_module("service.handler").handler
        for path in paths:
            answer = handler(event(path), None)
            body = str(answer.get("body") or "")
            if answer.get("isBase64Encoded"):
                body = base64.b64decode(body).decode("utf-8", "replace")
            answers[path] = (answer.get("statusCode"), body)
    except BaseException as error:  # including sys.exit: a service may do anything at import
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    result.write_text(json.dumps({"fault": fault, "answers": answers}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
