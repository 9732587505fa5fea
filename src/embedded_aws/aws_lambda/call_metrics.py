"""Metrics of each call of a function, under the dimensions that Lambda uses.

On AWS a call by alias or version is counted under the function alone, under the function and the invoked resource and,
by alias, also under the version that ran, whether it was called by name, Function URL or API:
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
ministack counts calls by name under the function alone, and calls by Function URL or API not at all; and it does not apply
the function's reserved concurrency to its versions.
"""

from __future__ import annotations

import time
from typing import Any


def patch() -> None:
    """Count in the function that every call goes through, instead of after calls by name."""
    from ministack.services import cloudwatch
    from ministack.services import lambda_svc as lambda_

    execute = lambda_._execute_function

    def counted(function: dict[str, Any], event: Any) -> Any:
        config = function.get("config") or function
        if lambda_._function_config_scope_mismatch(config):
            return execute(function, event)  # which calls this again, in the function's own account and region
        began = time.perf_counter()
        base = lambda_._functions.get(config["FunctionName"]) or {}
        with lambda_._inflight_lock:
            at_once = lambda_._inflight.get(lambda_._inflight_key(config), 0) + 1
        result = execute({**function, "concurrency": base.get("concurrency")}, event)
        count(config, result, (time.perf_counter() - began) * 1000, at_once)
        return result

    def count(config: dict[str, Any], result: Any, milliseconds: float, at_once: int) -> None:
        throttled = bool(result.get("throttle"))
        values = {"Throttles": (float(throttled), "Count")}
        if not throttled:
            failed = float(bool(result.get("error")))
            values |= {"Invocations": (1.0, "Count"), "Errors": (failed, "Count")}
            values |= {"Duration": (milliseconds, "Milliseconds"), "ConcurrentExecutions": (float(at_once), "Count")}
        for dimensions in dimensions_of(config):
            for name, (value, unit) in values.items():
                cloudwatch.record_metric("AWS/Lambda", name, value, unit, dimensions)

    lambda_._execute_function = counted
    lambda_._emit_lambda_metrics = lambda *_, **__: None


def dimensions_of(config: dict[str, Any]) -> list[dict[str, str]]:
    """The sets of dimensions of a call; the ARN ends with the alias or version that was invoked."""
    name, qualifier = config["FunctionName"], config["FunctionArn"].split(":")[7:]
    sets = [{"FunctionName": name}]
    if qualifier:
        sets.append({"FunctionName": name, "Resource": f"{name}:{qualifier[0]}"})
        if not qualifier[0].isdigit():
            sets.append({**sets[-1], "ExecutedVersion": config.get("Version", "$LATEST")})
    return sets
