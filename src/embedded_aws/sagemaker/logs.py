"""A container's stream in CloudWatch Logs, written with the rights of its execution role.

A role without those rights loses the log, the job still runs:
https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
"""

from __future__ import annotations

import threading
import time
from typing import Any

from embedded_aws.sagemaker.roles import Session

PAUSE = 0.3  # seconds between writes
LONGEST = (
    256 * 1024
)  # bytes of an event: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html


class Stream:
    """A stream; ``write`` is quick, a thread writes what has come."""

    def __init__(self, session: Session, group: str, stream: str) -> None:
        self.group, self.stream = group, stream
        self._client = session.client("logs")
        self._waiting: list[dict[str, Any]] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._denied = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add a line, which AWS refuses when it is empty."""
        if line.strip():
            with self._lock:
                self._waiting.append({"timestamp": int(time.time() * 1000), "message": line[:LONGEST]})

    def close(self) -> None:
        """Write the rest."""
        self._closed.set()
        self._thread.join(10)

    def _work(self) -> None:
        self._open()
        while not self._closed.wait(PAUSE):
            self._flush()
        self._flush()

    def _open(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        group = {"logGroupName": self.group}
        stream = {**group, "logStreamName": self.stream}
        for create, what in ((self._client.create_log_group, group), (self._client.create_log_stream, stream)):
            try:
                create(**what)
                self._denied = False
            except ClientError as error:
                self._denied = error.response["Error"]["Code"] != "ResourceAlreadyExistsException"
            except BotoCoreError:
                self._denied = True

    def _flush(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        with self._lock:
            lines, self._waiting = self._waiting, []
        while lines and not self._denied:
            batch, lines = lines[:1000], lines[1000:]
            try:
                self._client.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=batch)
            except (BotoCoreError, ClientError):
                return
