"""Lambda's Runtime API on loopback, for one execution environment: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/2018-06-01/runtime"
RESULT = re.compile(rf"{PREFIX}/invocation/([^/]+)/(response|error)")


class RuntimeAPI:
    """Hands out calls and receives their results; ``address`` is the value of ``AWS_LAMBDA_RUNTIME_API``.

    The runtime's first request for a call, or its report that it can't start, ends the wait of ``started``.
    """

    def __init__(self) -> None:
        api = self
        self._calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._started: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._current = ""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet per answer
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path != f"{PREFIX}/invocation/next":
                    return self.answer(404, b"{}")
                api._started.put({})
                call = api._calls.get()
                if not call:
                    return self.answer(410, b"{}")
                api._current = call["request_id"]
                self.answer(
                    200,
                    json.dumps(call["event"]).encode(),
                    {
                        "Lambda-Runtime-Aws-Request-Id": call["request_id"],
                        "Lambda-Runtime-Deadline-Ms": str(int((time.time() + call["timeout"]) * 1000)),
                        "Lambda-Runtime-Invoked-Function-Arn": call["invoked_function_arn"],
                    },
                )

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    document = json.loads(body)
                except ValueError:
                    document = body.decode("utf-8", "replace")
                if self.path == f"{PREFIX}/init/error":
                    api._started.put({"error": document})
                elif (match := RESULT.match(self.path)) and match[1] == api._current:
                    api._results.put({"error" if match[2] == "error" else "result": document})
                else:
                    return self.answer(400, b'{"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}')
                self.answer(202, b'{"status": "OK"}')

            def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def started(self, seconds: float) -> dict[str, Any] | None:
        """Empty when the runtime is ready, ``error`` when it failed to start; None when neither came in time."""
        return self._take(self._started, seconds)

    def ask(self, call: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The ``result`` or ``error`` of a call; None when neither came in time."""
        self._calls.put(call)
        return self._take(self._results, seconds)

    def close(self) -> None:
        """Tell the runtime that there are no more calls, and stop listening."""
        self._calls.put({})
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._server.server_close()

    @staticmethod
    def _take(source: queue.SimpleQueue[dict[str, Any]], seconds: float) -> dict[str, Any] | None:
        try:
            return source.get(timeout=seconds)
        except queue.Empty:
            return None
