"""Why a variant does not start: what its containers logged is in the refusal, also when it arrives late."""

from __future__ import annotations

import threading
import time

import pytest
from tiny import Tiny

from ml_delivery.targets.sagemaker import reasons
from ml_delivery.targets.sagemaker.names import Names

SEE_LOGS = "The primary container did not pass the ping health check. Please check CloudWatch logs for this endpoint."


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        (SEE_LOGS, f"{SEE_LOGS}; its last lines: no such file | RuntimeError: broken"),
        ("Failed to pull the image", "Failed to pull the image"),  # no container ran, so nothing is waited for
    ],
)
def test_lines_are_waited_for(tiny: Tiny, reason: str, found: str) -> None:
    """CloudWatch shows an event some time after it was written; SageMaker may give its reason before."""
    opened, began = tiny.open(), time.time()
    names, logs = Names(tiny.name), opened.cloud.client("logs")
    logs.create_log_group(logGroupName=names.log_group)
    for stream in ("r1/i-1", "r10/i-1"):
        logs.create_log_stream(logGroupName=names.log_group, logStreamName=stream)
    other = [{"timestamp": int(time.time() * 1000), "message": "of another release"}]
    logs.put_log_events(logGroupName=names.log_group, logStreamName="r10/i-1", logEvents=other)

    def arrive() -> None:
        lines = ("no such file", "Traceback (most recent call last):", "  in app", "RuntimeError: broken")
        logs.put_log_events(
            logGroupName=names.log_group,
            logStreamName="r1/i-1",
            logEvents=[{"timestamp": int(time.time() * 1000), "message": line} for line in lines],
        )

    late = threading.Timer(1, arrive)
    late.start()
    try:
        assert reasons.explained(opened.deployer.context, names, "r1", reason, began) == found
    finally:
        late.join()
