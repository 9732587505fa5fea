"""A build's stream in CloudWatch Logs, and the exception that ends a build early."""

from __future__ import annotations

import os
import threading
import time
from typing import Any


class Stop(Exception):
    """The build ends here, with a status, an error code and the reason."""

    def __init__(self, status: str, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.code = status, code


class Log:
    """The build's stream in CloudWatch Logs, written as the project's role, as on AWS."""

    def __init__(self, place: dict[str, str]) -> None:
        self.group, self.stream = place["groupName"], place["streamName"]
        self.lines: list[dict[str, Any]] = []
        self.client: Any = None
        self.lock, self.done = threading.Lock(), threading.Event()

    def open(self, **session: str) -> None:
        from botocore.exceptions import ClientError
        from botocore.session import Session

        self.client = Session().create_client("logs", endpoint_url=endpoint(), **session)
        try:
            self.client.create_log_stream(logGroupName=self.group, logStreamName=self.stream)
        except ClientError as error:
            self.client = None
            raise Stop("FAILED", "ACCESS_DENIED", f"the service role may not write the log: {error}") from error
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def line(self, text: str) -> None:
        with self.lock:
            self.lines.append({"timestamp": int(time.time() * 1000), "message": text + "\n"})

    def work(self) -> None:
        while not self.done.wait(0.2):
            self.flush()
        self.flush()

    def flush(self) -> None:
        with self.lock:
            lines, self.lines = self.lines, []
        while lines:
            batch, lines = lines[:1000], lines[1000:]
            self.client.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=batch)

    def close(self) -> None:
        self.done.set()
        if self.client:
            self.thread.join(10)


def endpoint() -> str:
    """The address of this server."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
