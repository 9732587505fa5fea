"""Functions from ZIP files: each call runs in a process of its version, which ministack's pool provides.

What Lambda does: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
What ministack does instead: it runs Python functions with its own interpreter, packages and environment variables; unpacks the
package again for each process, starts any number of them, and keeps one of each version permanently; reports every error
as ``Runtime.HandlerError``; waits 50 ms after each call of a function that logs nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc as lambda_

from embedded_aws.aws_lambda import packages
from embedded_aws.aws_lambda.execution import Process

# Processes per version; further calls wait for one. AWS would start more, up to a thousand; a laptop can't.
MOST = 2 * (os.cpu_count() or 1)
WAIT_SECONDS = 60


def patch(tmp: Path) -> None:
    """Have ministack's pool use ``Process`` for Python functions, and report its errors unchanged."""
    Process.packages = tmp / "packages"
    Process.packages.mkdir(parents=True, exist_ok=True)
    Process.libraries = packages.provide_sdk(tmp / "libraries")
    classes = lambda_runtime._worker_class_for
    acquire, release = lambda_.acquire_worker, lambda_.release_worker
    execute = lambda_._execute_function_warm
    free = threading.Condition()

    def worker_class(config: dict[str, Any]) -> Any:
        return Process if str(config.get("Runtime", "")).startswith("python") else classes(config)

    def acquire_waiting(name: str, config: dict[str, Any], code: bytes, **options: Any) -> Any:
        options["max_concurrency"] = MOST
        end = time.monotonic() + WAIT_SECONDS
        with free:
            while True:
                worker, reason = acquire(name, config, code, **options)
                if worker is not None or not free.wait(max(0.0, end - time.monotonic())):
                    return worker, reason

    def release_and_notify(worker: Any) -> None:
        release(worker)
        with free:
            free.notify_all()  # all, since they wait for different functions

    def execute_with_original_error(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        result: dict[str, Any] = execute(function, event, request_id)
        if result.get("error"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # an error of ministack itself stays as it is
                result["body"] = json.loads(result["body"]["errorMessage"])
        return result

    lambda_runtime._worker_class_for = worker_class
    lambda_.reap_idle_workers = reap
    lambda_.acquire_worker = acquire_waiting
    lambda_.release_worker = release_and_notify
    lambda_._execute_function_warm = execute_with_original_error


def reap(seconds: float = lambda_runtime._LOCAL_WORKER_TTL) -> int:
    """End processes that had no call for ``seconds``, as Lambda does; returns how many. ministack keeps one of each version."""
    with lambda_runtime._lock:
        idle = [
            worker
            for workers in lambda_runtime._workers.values()
            for worker in workers
            if not worker.in_use and time.time() - worker.last_used >= seconds
        ]
        for workers in lambda_runtime._workers.values():
            workers[:] = [worker for worker in workers if worker not in idle]
    lambda_runtime.kill_workers(idle)
    return len(idle)
