"""Lambda's events, as AWS documents them, answered by the handler."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import service

CONTEXT = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 3000)


@pytest.fixture
def handler(root: Path) -> Any:
    """The handler, imported as Lambda imports it."""
    sys.modules.pop("service.handler", None)
    return importlib.import_module("service.handler").handler


def http_api(path: str, query: str = "") -> dict[str, Any]:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": ["cookie1", "cookie2"],
        "headers": {"header1": "value1", "header2": "value1,value2", "host": "id.execute-api.us-east-1.amazonaws.com"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "id",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "isBase64Encoded": False,
    }


def function_url(path: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""
    event = http_api(path)
    host = "<url-id>.lambda-url.us-west-2.on.aws"
    event["headers"] = {"x-forwarded-proto": "https", "host": host, "user-agent": "curl/8"}
    event["requestContext"] |= {"domainName": host, "apiId": "<urlid>"}
    del event["cookies"]
    return event


@pytest.mark.parametrize("event", [http_api("/healthz"), function_url("/healthz")], ids=["HTTP API", "Function URL"])
def test_event_is_answered(handler: Any, event: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """An event becomes a request, and its answer the response that AWS expects; Lambda's request id is logged."""
    answer = handler(event, CONTEXT)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"status": "ok"}
    assert json.loads(capsys.readouterr().out)["request"] == "request-1"


def test_query_reaches_the_application(handler: Any) -> None:
    """The query string is not lost on the way."""
    answer = handler(http_api("/v1/predict-price/85111", "bins=4"), CONTEXT)
    assert len(json.loads(answer["body"])["bins"]) == 4


def test_serving_imports_nothing_of_training(root: Path) -> None:
    """A process that serves has none of the training's packages loaded, and no pickle is read."""
    code = (
        "import sys; from service import artifact; from pathlib import Path; "
        f"artifact.find_root = lambda: Path({str(root)!r}); import service.handler; "
        "print(sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    environment = {"PYTHONPATH": str(Path(service.__file__).parent.parent), "PATH": "/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert "onnxruntime" in loaded
    assert not loaded & {"pandas", "sklearn", "scipy", "lightgbm", "skl2onnx", "onnx", "joblib", "optuna", "torch"}
