"""Lambda's events, as AWS documents them, answered by the handler."""

from __future__ import annotations

import base64
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ml_pages
import ml_service
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


def load_balancer(path: str, query: dict[str, str], *, many: bool = False, method: str = "GET") -> dict[str, Any]:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html"""
    group = "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-target-group/6d0ecf831eec9f09"
    headers = {
        "accept": "text/html,application/xhtml+xml",
        "accept-language": "en-US,en;q=0.8",
        "content-type": "text/plain",
        "cookie": "cookies",
        "host": "lambda-846800462-us-east-2.elb.amazonaws.com",
        "user-agent": "Mozilla/5.0",
        "x-amzn-trace-id": "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520",
        "x-forwarded-for": "72.21.198.66",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    event = {"requestContext": {"elb": {"targetGroupArn": group}}, "httpMethod": method, "path": path}
    if many:
        values = {name: [value] for name, value in query.items()}
        event |= {"multiValueQueryStringParameters": values, "multiValueHeaders": {n: [v] for n, v in headers.items()}}
    else:
        event |= {"queryStringParameters": query, "headers": headers}
    return {**event, "body": "", "isBase64Encoded": False}


EVENTS = {
    "HTTP API": http_api("/healthz"),
    "Function URL": function_url("/healthz"),
    "load balancer": load_balancer("/healthz", {}),
    "load balancer, multi-value": load_balancer("/healthz", {}, many=True),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_event_is_answered(handler: Any, event: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """An event becomes a request, and its answer the response that AWS expects; Lambda's request id is logged."""
    answer = handler(event, CONTEXT)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"status": "ok"}
    assert answer["isBase64Encoded"] is False
    assert json.loads(capsys.readouterr().out)["request"] == "request-1"


def test_query_reaches_the_application(handler: Any) -> None:
    """The query string reaches the application."""
    answer = handler(http_api("/v1/predict-price/85111", "bins=4"), CONTEXT)
    assert len(json.loads(answer["body"])["bins"]) == 4


@pytest.mark.parametrize("many", [False, True])
def test_load_balancers_query_reaches_the_application(handler: Any, many: bool) -> None:
    """A load balancer passes the query encoded, and with multi-value headers expects them in the answer."""
    answer = handler(
        load_balancer("/v1/predict-price/85111", {"bins": "%34", "date": "2026%2D01%2D31"}, many=many), CONTEXT
    )
    found = json.loads(answer["body"])
    assert (len(found["bins"]), found["date"]) == (4, "2026-01-31")
    headers = answer["multiValueHeaders"] if many else answer["headers"]
    assert headers["Content-Type"] == (["application/json"] if many else "application/json")


def test_body_reaches_the_application_encoded_or_not(handler: Any) -> None:
    """A batch through an event is answered like one through HTTP, whether AWS encoded its body or not."""
    body = json.dumps({"instances": [{"stockcode": "85111", "price": 12}]})
    event = http_api("/v1/predict")
    event["requestContext"]["http"]["method"] = "POST"
    event["headers"] |= {"content-type": "application/json", "content-length": str(len(body))}
    for encoded in (False, True):
        event |= {"body": base64.b64encode(body.encode()).decode() if encoded else body, "isBase64Encoded": encoded}
        answer = handler(event, CONTEXT)
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"])["predictions"][0]["stockcode"] == "85111"


def test_serving_imports_nothing_of_training(root: Path) -> None:
    """A process that serves has loaded none of the packages for training, and reads no pickle."""
    code = (
        "import sys; from ml_service import models; from pathlib import Path; "
        f"models.find_root = lambda: Path({str(root)!r}); import service.handler; "
        "print(sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    environment = {
        "PYTHONPATH": os.pathsep.join(str(Path(str(p.__file__)).parents[1]) for p in (service, ml_service, ml_pages)),
        "PATH": "/bin",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert "onnxruntime" in loaded
    assert not loaded & {"pandas", "sklearn", "scipy", "lightgbm", "onnx", "joblib", "optuna", "torch"}
