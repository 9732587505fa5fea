"""Serves a service's handler on a socket as a Function URL would, in a virtual environment with the service's packages.

``python -P serve.py SECONDS MEMORY FD``: the function's timeout and memory, and a socket that listens already. Standard library
only. As on Lambda, one request at a time runs in a process; one that takes longer than SECONDS is answered with 502 and ends
the process, with exit code 75. Bodies have at most 6 MB. If the handler can't be imported, its traceback is printed, and each
request is answered with 502.
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LIMIT = 6 * 1024 * 1024  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
TIMED_OUT = 75
TEXT = ("text/", "application/json", "application/xml", "application/javascript")
EVENT = runpy.run_path(str(Path(__file__).with_name("probe.py")))["event"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
Answer = tuple[int, dict[str, str], list[str], bytes]
FAULT: Answer = (502, {"content-type": "application/json"}, [], b'{"message": "Internal Server Error"}')


class Refused(Exception):
    """The request or its answer is larger than Lambda allows."""


def request(to: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
    """The event of a request, in the payload format 2.0."""
    path, _, query = to.path.partition("?")
    made: dict[str, Any] = EVENT(path)
    headers: dict[str, str] = {}
    for name, value in to.headers.items():
        headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    port = to.connection.getsockname()[1]
    headers |= {"x-forwarded-for": to.client_address[0], "x-forwarded-port": str(port)}
    headers["x-forwarded-proto"] = "http"  # here; what redirects to HTTPS would lead nowhere
    if cookies := headers.pop("cookie", ""):
        made["cookies"] = cookies.split("; ")
    encoded = bool(body) and not headers.get("content-type", "").startswith(TEXT)
    if body:
        made["body"] = base64.b64encode(body).decode() if encoded else body.decode("utf-8", "replace")
    made["requestContext"]["http"] |= {"method": to.command, "userAgent": headers.get("user-agent", "")}
    made["requestContext"] |= {"requestId": str(uuid.uuid4()), "timeEpoch": int(time.time() * 1000)}
    return {**made, "headers": headers, "rawQueryString": query, "isBase64Encoded": encoded}


def response(answer: Any) -> Answer:
    """Status, headers, cookies and body of what the handler returned; without a ``statusCode``, all of it is the body."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return 200, {"content-type": "application/json"}, [], json.dumps(answer).encode()
    body = answer.get("body") or ""
    data = base64.b64decode(body) if answer.get("isBase64Encoded") else str(body).encode()
    headers = {name.lower(): str(value) for name, value in (answer.get("headers") or {}).items()}
    headers.setdefault("content-type", "application/json")
    headers.pop("content-length", None)
    return int(answer["statusCode"]), headers, answer.get("cookies") or [], data


def serving(handler: Any, seconds: int, memory: int) -> type[BaseHTTPRequestHandler]:
    """What answers requests by ``handler``; with None, each with a fault."""

    class Serving(BaseHTTPRequestHandler):
        def answer(self) -> None:
            end = time.monotonic() + seconds
            clock = threading.Timer(seconds, self.time_out)
            clock.daemon = True
            context = SimpleNamespace(
                aws_request_id=str(uuid.uuid4()),
                function_name="service",
                function_version="$LATEST",
                invoked_function_arn="",
                memory_limit_in_mb=str(memory),
                get_remaining_time_in_millis=lambda: max(0, int((end - time.monotonic()) * 1000)),
            )
            try:
                event = request(self, self.content())
                clock.start()
                made = response(handler(event, context)) if handler else FAULT
                if len(made[3]) > LIMIT:
                    raise Refused(f"the answer has {len(made[3])} bytes, Lambda allows {LIMIT}")
            except Refused as refused:
                print(refused, file=sys.stderr, flush=True)
                made = (413, FAULT[1], [], json.dumps({"message": str(refused)}).encode())
            except Exception:
                traceback.print_exc()
                made = FAULT
            finally:
                clock.cancel()
            self.send(made)

        def content(self) -> bytes:
            size = int(self.headers.get("content-length") or 0)
            if size > LIMIT:
                left = size
                while left > 0 and (part := self.rfile.read(min(left, LIMIT))):  # or who sends it sees no answer
                    left -= len(part)
                raise Refused(f"the request has {size} bytes, Lambda allows {LIMIT}")
            return self.rfile.read(size)

        def send(self, made: Answer) -> None:
            status, headers, cookies, body = made
            self.send_response(status)
            for name, value in [*headers.items(), *(("set-cookie", one) for one in cookies)]:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def time_out(self) -> None:
            print(f"Task timed out after {seconds}.00 seconds", file=sys.stderr, flush=True)
            self.send(FAULT)
            self.wfile.flush()
            os._exit(TIMED_OUT)

        def log_message(self, *_: Any) -> None:
            """Nothing: the service logs its requests itself."""

    for method in METHODS:
        setattr(Serving, f"do_{method}", Serving.answer)
    return Serving


class Server(HTTPServer):
    """Ends between two requests: at SIGTERM, or when the process that started it has ended, however it did."""

    parent, ending = os.getppid(), False

    def end(self, *_: Any) -> None:
        self.ending = True

    def service_actions(self) -> None:
        if self.ending or os.getppid() != self.parent:
            os._exit(0)


def main(seconds: int, memory: int, descriptor: int) -> None:
    """Serve until the process is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    handler = None
    try:
        handler = importlib.import_module("service.handler").handler
    except BaseException:  # including sys.exit: a service may do anything at import
        traceback.print_exc()
    listening = socket.socket(fileno=descriptor)
    server = Server(listening.getsockname(), serving(handler, seconds, memory), bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    signal.signal(signal.SIGTERM, server.end)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
