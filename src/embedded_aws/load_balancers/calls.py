"""A load balancer calls a function as on AWS: the event, the permission, the limits, and what it answers instead.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html and
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
The path and the query are passed as they were sent, still encoded; the body by its type, as it is or in Base64. Without the
permission in the function's policy, and where a function fails, is throttled, or answers with anything but a response, the
answer is 502; a body above 1 MB is refused with 413, an answer above it with 502.
ministack decodes the path and, with multi-value headers, the query; joins headers that were sent twice; has the body in
Base64 only where it is not UTF-8; asks for no permission; has no limits; and finds load balancers by name in one region only.
"""

from __future__ import annotations

import base64
import json
import re
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from embedded_aws.aws_lambda import aliases
from embedded_aws.aws_lambda.grants import granted

SERVICE = "elasticloadbalancing.amazonaws.com"
PREFIX = "/_alb/"
LIMIT = 1024 * 1024
TEXT = ("text/", "application/json", "application/javascript", "application/xml")
# What the load balancer writes itself, whatever was sent.
OWN = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-amzn-trace-id")
HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "content-length")
VALID = re.compile(r"[-A-Za-z0-9]+")
_sent: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("sent", default=())
Response = tuple[int, dict[str, Any], bytes]


def patch(app: Any) -> None:
    """Keep the headers of each request as they were sent, and find a load balancer by the first label of its name."""
    serve, route = app.app, app._handle_alb_request

    async def keeping(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            _sent.set(
                tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
            )
        await serve(scope, receive, send)

    async def routed(
        host: str, path: str, method: str, headers: Any, body: bytes, query: Any, raw_query: Any = None, raw: Any = None
    ) -> Any:
        label, _, rest = (raw or path).removeprefix(PREFIX).partition("/")
        found = _find(app, label) if path.startswith(PREFIX) else None
        if found is None:
            return await route(host, path, method, headers, body, query, raw_query, raw)
        rest = f"/{rest}"
        words = {"raw_query_string": raw_query, "raw_path": rest}
        return await app._get_module("alb").dispatch_request(
            found, method, unquote(rest), headers, body, query, 443, **words
        )

    app.app, app._handle_alb_request = keeping, routed


def patch_calls() -> None:
    """Call functions from here."""
    from ministack.services import alb

    forward = alb._forward_to_tg

    async def forwarded(
        group: str,
        method: str,
        path: str,
        headers: Any,
        body: bytes,
        query: Any,
        raw_query: Any = None,
        raw: Any = None,
    ) -> Any:
        if alb._tgs.get(group, {}).get("TargetType") != "lambda" or not (targets := alb._targets.get(group)):
            return await forward(group, method, path, headers, body, query, raw_query, raw)
        event = _event(alb, group, method, raw or path, headers, raw_query or "", body)
        if len(body or b"") > LIMIT:
            return _page(413)
        if not granted(targets[0]["Id"], SERVICE, group):
            return _page(502)
        made = _response(await _called(targets[0]["Id"], event), many="multiValueHeaders" in event)
        return (made[0], made[1], b"") if method == "HEAD" else made

    alb._forward_to_tg = forwarded


def _find(app: Any, label: str) -> Any:
    """The load balancer whose DNS name begins with ``label``, in any region; the request is one of its region from then on."""
    from ministack.core.responses import _request_account_id, set_request_region

    for (account, region, _), one in list(app._get_module("alb")._lbs._data.items()):
        if one["DNSName"].partition(".")[0].lower() == label.lower():
            _request_account_id.set(account)
            set_request_region(region)
            return one
    return None


def _event(alb: Any, group: str, method: str, path: str, headers: Any, query: str, body: bytes) -> dict[str, Any]:
    """What the function gets; several values of a header or parameter in lists, if the target group's attribute says so."""
    sent = _sent.get()
    values = {name: [v for n, v in sent if n == name and name not in OWN] or [value] for name, value in headers.items()}
    balancer = next(iter(alb._tgs[group].get("LoadBalancerArns", [])), "")
    if alb._lb_attr(balancer, "routing.http.drop_invalid_header_fields.enabled", "false") == "true":
        values = {name: found for name, found in values.items() if VALID.fullmatch(name)}
    asked: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        asked.setdefault(name, []).append(value)
    found: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": method.upper(),
        "path": path,
    }
    attributes = {one["Key"]: one["Value"] for one in alb._tg_attrs.get(group, [])}
    if attributes.get("lambda.multi_value_headers.enabled") == "true":
        found |= {"multiValueQueryStringParameters": asked, "multiValueHeaders": values}
    else:
        found |= {
            "queryStringParameters": {name: several[-1] for name, several in asked.items()},
            "headers": {name: several[-1] for name, several in values.items()},
        }
    plain = not body or (headers.get("content-type", "").lower().startswith(TEXT) and "content-encoding" not in headers)
    text = (body or b"").decode("utf-8", "replace") if plain else base64.b64encode(body).decode()
    return {**found, "body": text, "isBase64Encoded": not plain}


async def _called(function: str, event: dict[str, Any]) -> Any:
    """What the function returned; None if it could not be called, or raised an exception."""
    from ministack.core.concurrency import run_reentrant
    from ministack.services import lambda_svc

    region, account = function.split(":")[3:5]
    known, config, _ = lambda_svc._get_func_record_for_ref_in_scope(function, account_id=account, region=region)
    if not known or not config:
        return None
    record = lambda_svc._execution_record_for_config(known, config)
    aliases.invoked(function)
    done = await run_reentrant(lambda_svc._execute_function_with_config_scope, record, event)
    if done.get("error") or done.get("throttle"):
        return None
    returned = done.get("body")
    try:
        return json.loads(returned) if isinstance(returned, (str, bytes)) else returned
    except ValueError:
        return None


def _response(returned: Any, *, many: bool) -> Response:
    """The HTTP response; headers are read from the field that the target group's attribute demands."""
    if not isinstance(returned, dict) or len(json.dumps(returned)) > LIMIT:
        return _page(502)
    status, body = returned.get("statusCode"), returned.get("body") or ""
    named = returned.get("multiValueHeaders" if many else "headers") or {}
    if not str(status).isdigit() or not 200 <= int(str(status)) <= 599 or not isinstance(body, str):
        return _page(502)
    headers: dict[str, Any] = {}
    for name, value in named.items():
        several = [str(one) for one in value] if many and isinstance(value, list) else [str(value)]
        if name.lower() not in HOP and several:
            headers[name] = several if len(several) > 1 else several[0]
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/octet-stream"
    try:
        data = base64.b64decode(body, validate=True) if returned.get("isBase64Encoded") else body.encode()
    except ValueError:
        return _page(502)
    return int(str(status)), headers, data


def _page(status: int) -> Response:
    """The load balancer's own answer."""
    words = f"{status} {HTTPStatus(status).phrase}"
    html = f"<html>\r\n<head><title>{words}</title></head>\r\n<body>\r\n<center><h1>{words}</h1></center>\r\n</body>\r\n</html>\r\n"
    return status, {"Content-Type": "text/html"}, html.encode()
