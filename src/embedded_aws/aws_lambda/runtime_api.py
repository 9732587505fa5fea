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

    Attributes:
        starts: gets an empty record when the runtime asks for a call, and ``error`` when it failed to start.
        results: gets the ``result`` or ``error`` of each call.
    """

    def __init__(self) -> None:
        api = self
        self._calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.starts: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
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
                api.starts.put({})
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
                    api.starts.put({"error": document})
                elif (match := RESULT.match(self.path)) and match[1] == api._current:
                    api.results.put({"error" if match[2] == "error" else "result": document})
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

    def offer(self, call: dict[str, Any]) -> None:
        """Hand a call to the runtime."""
        self._calls.put(call)

    def close(self) -> None:
        """Tell the runtime that there are no more calls, and stop listening."""
        self._calls.put({})
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._server.server_close()
