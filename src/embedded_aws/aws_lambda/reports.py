"""Lambda's own lines in a function's log: its REPORT has the duration of the call, of the initialization, and the memory.

https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html: ``Init Duration`` is in the first call's REPORT only, and
``Duration`` does not contain it. ministack writes no ``Init Duration``, the whole time as ``Duration``, and the peak memory of all
processes that it ever had.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """Milliseconds of a call and of the initialization before it (None: there was none), megabytes, and what went wrong."""

    duration: float
    init: float | None
    used: int
    status: str = ""


current: ContextVar[Report | None] = ContextVar("report", default=None)


def patch() -> None:
    """Pass complete logs to ministack, which adds its own lines to others."""
    from ministack.services import lambda_svc as lambda_

    emit = lambda_._emit_lambda_logs

    def emitted(function: Any, request_id: str, log: str, error: bool, milliseconds: int, **options: Any) -> None:
        report = current.get()
        current.set(None)
        if report is not None:
            log = "\n".join(_lines(function.get("config") or function, request_id, log, report))
            options["log_source"] = "rie"
        emit(function, request_id, log, error, milliseconds, **options)

    lambda_._emit_lambda_logs = emitted


def _lines(config: dict[str, Any], request_id: str, log: str, report: Report) -> list[str]:
    # The initialization is billed since August 2025.
    billed = math.ceil(report.duration + (report.init or 0))
    words = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {report.duration:.2f} ms",
        f"Billed Duration: {billed} ms",
        f"Memory Size: {config.get('MemorySize', 128)} MB",
        f"Max Memory Used: {report.used} MB",
        *([] if report.init is None else [f"Init Duration: {report.init:.2f} ms"]),
        *([f"Status: {report.status}"] if report.status else []),
    ]
    start = f"START RequestId: {request_id} Version: {config.get('Version', '$LATEST')}"
    return [start, *log.splitlines(), f"END RequestId: {request_id}", "\t".join(words)]
