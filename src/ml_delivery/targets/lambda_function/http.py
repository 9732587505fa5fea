"""HTTP as Lambda sees it: a request is an event, a response is a document with a status."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ml_delivery.records import Answer

__all__ = ["balancer_event", "http_event", "read_answer"]

# Those that AWS adds to each request are here, too: an application may need the port, or redirect what is not HTTPS.
FORWARDED = {"x-forwarded-for": "127.0.0.1", "x-forwarded-port": "443", "x-forwarded-proto": "https"}
HEADERS = {"host": "pipeline", "user-agent": "pipeline", "content-type": "application/json", **FORWARDED}


def http_event(
    path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The event that an HTTP API or a Function URL sends for this request (payload format 2.0).

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    parts = urlsplit(path)
    text, encoded = _text(body)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": {**HEADERS, **(headers or {})},
        "requestContext": {
            "domainName": "pipeline",
            "http": {
                "method": method,
                "path": parts.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "pipeline",
            },
            "requestId": f"pipeline-{time.time_ns()}",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


def balancer_event(
    path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The event that a load balancer sends for this request, to a target group with multi-value headers.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
    """
    parts, query = urlsplit(path), dict[str, list[str]]()
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        query.setdefault(name, []).append(value)
    text, encoded = _text(body)
    return {
        "requestContext": {"elb": {"targetGroupArn": "pipeline"}},
        "httpMethod": method,
        "path": parts.path,
        "multiValueQueryStringParameters": query,
        "multiValueHeaders": {name.lower(): [value] for name, value in {**HEADERS, **(headers or {})}.items()},
        "body": text,
        "isBase64Encoded": encoded,
    }


def _text(body: bytes) -> tuple[str, bool]:
    """The body as an event has it, and whether that is Base64."""
    try:
        return body.decode("utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def read_answer(answer: dict[str, Any], seconds: float) -> Answer:
    """The result of ``Invoke`` as an HTTP response; if it isn't one, ``fault`` is Lambda's error message, uncut."""
    payload = answer["Payload"].read().decode("utf-8", "replace")
    if "FunctionError" in answer:
        return Answer(0, payload, f"{answer['FunctionError']}: {_reason(payload)}", seconds)
    try:
        response = json.loads(payload)
        status = int(response["statusCode"])
        text = response.get("body") or ""
        if response.get("isBase64Encoded"):
            text = base64.b64decode(text).decode("utf-8", "replace")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Answer(0, payload, f"not an HTTP response: {payload}", seconds)
    return Answer(status, text, "", seconds)


def _reason(payload: str) -> str:
    """Lambda's type and message of a function error."""
    try:
        error = json.loads(payload)
        return f"{error.get('errorType', 'Error')}: {error.get('errorMessage', payload)}"
    except (ValueError, AttributeError, RecursionError):
        return payload
