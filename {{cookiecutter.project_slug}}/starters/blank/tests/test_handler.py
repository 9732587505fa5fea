"""What Lambda sends, answered by the handler."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def test_lambda_gets_what_it_expects(root: Path) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    assert root
    sys.modules.pop("service.handler", None)
    http = {"method": "GET", "path": "/healthz", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    headers = {"host": "h", "x-forwarded-for": "192.0.2.1", "x-forwarded-port": "443", "x-forwarded-proto": "https"}
    event: dict[str, Any] = {"version": "2.0", "rawPath": "/healthz", "rawQueryString": "", "headers": headers}
    event |= {"requestContext": {"http": http}, "isBase64Encoded": False}
    answer = importlib.import_module("service.handler").handler(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok"})
