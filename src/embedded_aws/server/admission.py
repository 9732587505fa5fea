"""Who may ask the server: a program of this machine, by a loopback name; a web page only what AWS would let it ask.

ministack resets all state, changes its settings, and returns a function's code or messages for anyone who reaches the port,
unsigned, and it allows every origin. A web page reaches the port of the machine that shows it, either directly or by a host
name of its own that resolves to 127.0.0.1 (DNS rebinding). Here ministack's own routes are closed, but for the health check
and the links that AWS presigns, which need their secret:
https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from embedded_aws.kubernetes import eks

HEALTH = ("/health", "/_ministack/health", "/_localstack/health")
INTERNAL = ("/_ministack", "/_localstack")
# Browsers resolve localhost, and names below it, to the machine itself; the names of Function URLs are AWS's own.
# The link-local address is where a pod of the cluster finds AWS; no other name or page can have it as its host.
LOOPBACK = re.compile(r"(127(\.\d{1,3}){3}|\[::1\]|169\.254\.170\.23|([a-z0-9-]+\.)*localhost)(:\d{1,5})?", re.I)
FUNCTION_URL = re.compile(r"[a-z0-9]{32}\.lambda-url\.[a-z0-9-]+\.on\.aws(:\d{1,5})?")
DOWNLOADS = ("/_ministack/lambda-code/", "/_ministack/lambda-layers/")
DOWNLOAD_SECONDS = 600
RESPONSE, SIGNAL = "/_ministack/cfn-response/", "/_ministack/cfn-signal/"


def patch(app: Any) -> None:
    """Wrap the ASGI application, outside everything else; and sign the links to a function's or layer's code."""
    serve, secret = app.app, secrets.token_bytes(32)
    _sign_downloads(secret)

    async def admitting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await serve(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        page = _answers_pages(app, scope, headers)
        if reason := _refusal(scope, headers, page, secret):
            return await _refuse(scope, receive, send, reason)

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start" and not page:
                kept = [h for h in message.get("headers", []) if not h[0].lower().startswith(b"access-control-")]
                message = {**message, "headers": kept}
            await send(message)

        await serve(scope, receive, answer)

    app.app = admitting


def _refusal(scope: Any, headers: dict[str, str], page: bool, secret: bytes) -> str:
    """Why a request is refused; empty when it is admitted."""
    host, path = headers.get("host", ""), scope["path"]
    if not LOOPBACK.fullmatch(host) and not FUNCTION_URL.fullmatch(host):
        return f"the host {host!r} is not this machine; use http://127.0.0.1 and the port"
    if "origin" in headers and not page and not headers.get("authorization", "").startswith("AWS4-"):
        return "a web page may not make unsigned requests"
    if f"{path}/".startswith(tuple(f"{prefix}/" for prefix in INTERNAL)) and path not in HEALTH:
        known = scope["type"] == "http" and _presigned(scope, secret)
        return "" if known else f"{path} is not a part of AWS, and closed; of ministack only {HEALTH[1]} answers"
    return ""


def _answers_pages(app: Any, scope: Any, headers: dict[str, str]) -> bool:
    """Whether AWS answers web pages here, by a configuration of the user: of a bucket, Function URL, API or load balancer."""
    host, path = headers.get("host", ""), scope["path"]
    if app._parse_execute_api_url(host, path) or app._parse_lambda_url(host, path):
        return True
    if app._is_potential_alb_request(host, path):
        return True
    if "origin" not in headers or scope["type"] == "websocket" or not app._s3_cors_target(host, path):
        return False
    posted = scope["method"] == "POST" and not headers.get("content-type", "").startswith("multipart/form-data")
    signed = headers.get("authorization", "").startswith("AWS4-")
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return (signed or not posted) and app.detect_service(scope["method"], path, headers, query) == "s3"


def _presigned(scope: Any, secret: bytes) -> bool:
    """Whether the request uses a link that this server made for one purpose: a download, or a stack's custom resource."""
    method, path = scope["method"], scope["path"]
    if method == "GET" and path.startswith(DOWNLOADS):
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        expires, given = (query.get(name, [""])[0] for name in ("Expires", "Signature"))
        right = hmac.compare_digest(given.encode(), _signature(secret, path, expires).encode())
        return right and time.time() < int(expires)
    if method == "POST" and path.startswith(eks.WEBHOOK):
        return eks.admits(path)
    if method == "PUT" and path.startswith(RESPONSE):
        from ministack.services.cloudformation import custom_resource

        return path.removeprefix(RESPONSE) in custom_resource._pending
    if method == "PUT" and path.startswith(SIGNAL):
        from ministack.services.cloudformation import wait_conditions

        return bool(wait_conditions.has_handle(path.removeprefix(SIGNAL)))
    return False


def _sign_downloads(secret: bytes) -> None:
    from ministack.services import lambda_svc

    def signed(make: Any) -> Any:
        def link(*words: Any) -> str:
            plain = make(*words).partition("?")[0]
            expires = str(int(time.time()) + DOWNLOAD_SECONDS)
            return f"{plain}?Expires={expires}&Signature={_signature(secret, urlsplit(plain).path, expires)}"

        return link

    lambda_svc._presigned_code_url = signed(lambda_svc._presigned_code_url)
    lambda_svc._layer_content_url = signed(lambda_svc._layer_content_url)


def _signature(secret: bytes, path: str, expires: str) -> str:
    return hmac.new(secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


async def _refuse(scope: Any, receive: Any, send: Any, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"__type": "AccessDenied", "message": reason}).encode()
    names = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": names})
    await send({"type": "http.response.body", "body": body})
